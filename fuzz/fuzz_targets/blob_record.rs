//! Records of compressed blobs, chosen by the first byte: `b` for a blob, of which a record is made that must rebuild
//! it, `r` for the bytes of a record and its archive, `p` for the three plain parts of a record and its archive. The
//! length of each but the archive comes before it, in two bytes.
#![no_main]

use std::io::Read;

use composefs_fuzz::{Budget, Linear};
use libcomposefs_oci::blob_record::fuzzing::record_of_parts;
use libcomposefs_oci::blob_record::{make_record, rebuild};
use libfuzzer_sys::fuzz_target;

/// The size of the blob that a record of plain parts claims to rebuild.
const BLOB_SIZE: u64 = 1 << 16;
/// The largest archive that is compared, in bytes.
const ARCHIVE_MAX: u64 = 1 << 20;

// The constants are the tables of the imitated encoders and the windows of zstd, and the least limit on the work.
static BLOB: Budget =
    Budget::new("blob", Linear { base: 64 << 20, per_byte: 64 }, Linear { base: 4_000_000_000, per_byte: 200_000 });
static RECORD: Budget =
    Budget::new("record", Linear { base: 64 << 20, per_byte: 16 }, Linear { base: 2_000_000_000, per_byte: 100_000 });

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind {
        b'b' => BLOB.check(bytes.len(), || blob(bytes)),
        b'r' => RECORD.check(bytes.len(), || record(bytes)),
        b'p' => RECORD.check(bytes.len(), || parts(bytes)),
        _ => {}
    }
});

fn blob(bytes: &[u8]) {
    let Ok(record) = make_record(bytes, bytes.len() as u64) else { return };
    let mut archive = Vec::new();
    // A plain blob is its own archive.
    let decoded = if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(bytes).take(ARCHIVE_MAX + 1).read_to_end(&mut archive)
    } else {
        bytes.take(ARCHIVE_MAX + 1).read_to_end(&mut archive)
    };
    // What a record does not need, such as a checksum, may be wrong in the blob.
    if decoded.is_ok() && archive.len() as u64 <= ARCHIVE_MAX {
        let mut rebuilt = Vec::new();
        rebuild(&record, &mut &archive[..], &mut rebuilt).expect("the record rebuilds the blob");
        assert!(rebuilt == bytes);
    }
}

/// Takes a part whose length comes before it.
fn part<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (part, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    *bytes = rest;
    Some(part)
}

fn record(mut bytes: &[u8]) {
    let Some(record) = part(&mut bytes) else { return };
    let _ = rebuild(record, &mut &*bytes, &mut std::io::sink());
}

fn parts(mut bytes: &[u8]) {
    let (Some(heads), Some(differences), Some(streams)) = (part(&mut bytes), part(&mut bytes), part(&mut bytes)) else {
        return;
    };
    let record = record_of_parts([heads, differences, streams], BLOB_SIZE).expect("zstd has memory");
    // The digest is another one, unless the blob is empty.
    assert!(rebuild(&record, &mut &*bytes, &mut std::io::sink()).is_err());
}
