//! Records from which a compressed blob is rebuilt bit by bit, given its archive (`docs/format/blob-record.md`).
//!
//! An archive that is compressed again gives another blob, unless the same encoder with the same settings does it. A
//! record has what an encoder has decided, as far as its imitation would decide otherwise.
//!
//! The imitations are derived from zlib, Go and klauspost/compress, whose notices are in `LICENSES/` of this crate.

mod follow;
mod format;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gzip_recorder;
mod predict;
mod rebuilder;
mod rebuilt_blob;
mod recorder;
mod varint;
mod verified;
mod work;

use std::io::{self, Read, Write};

use libcomposefs_deflate::ByteSource;

use recorder::DeflateRecorder;
use work::WorkLimit;

use crate::compression::Compression;
use crate::{BlobDigest, BlobHasher};

pub use format::{BlobMethod, BlobRecord};
pub use rebuilt_blob::RebuiltBlob;
pub use verified::make_verified_record;

/// A record is not larger than this, in bytes.
pub const RECORD_MAX: u64 = 16 << 20;
/// Size up to which a record is never too large, in bytes.
const RECORD_MIN: u64 = 4096;
/// Largest window of the compressed parts, as a binary logarithm.
const WINDOW_LOG: u32 = 23;

/// The reasons why a record cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobRecordError {
    /// The blob or the archive cannot be read, or the blob cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The record is malformed.
    #[error("the record of the blob is damaged: {0}; pull the image again")]
    Damaged(&'static str),
    /// The record has an unknown version.
    #[error("the record of the blob has version {0}, but this program knows version 1 only; use a newer program")]
    Version(u8),
    /// Nothing was found that rebuilds the blob.
    #[error("no encoder is known that writes such a blob: {0}")]
    Unknown(&'static str),
    /// What was rebuilt is not the blob.
    #[error("the rebuilt blob has the digest {found} instead of {expected}; pull the image again")]
    Digest {
        /// The digest of the blob.
        expected: BlobDigest,
        /// The digest of what was rebuilt.
        found: BlobDigest,
    },
}

/// Makes the record of a blob of `size` bytes, which is read once. Memory does not depend on the size of the blob,
/// except for the record.
///
/// # Errors
///
/// If the blob cannot be read, or a record would be larger than a tenth of the blob or [`RECORD_MAX`].
pub fn make_record(blob: impl Read, size: u64) -> Result<Vec<u8>, BlobRecordError> {
    let mut source = ByteSource::new(HashedInput { input: blob, hasher: BlobHasher::default(), size: 0 });
    let head: Vec<u8> = source.fill()?.iter().take(4).copied().collect();
    let record_max = (size / 10).clamp(RECORD_MIN, RECORD_MAX);
    let mut parts: [Vec<u8>; 3] = Default::default();
    let (method, archive_size) = match Compression::of(&head) {
        Compression::None => (BlobMethod::Plain, io::copy(&mut source, &mut io::sink())?),
        Compression::Gzip => {
            let mut recorder = DeflateRecorder::new(record_max, WorkLimit::new(size))?;
            let archive_size = gzip_recorder::record_gzip(&mut source, &mut recorder)?;
            parts = recorder.finish()?;
            (BlobMethod::Gzip, archive_size)
        }
        Compression::Zstd => return Err(BlobRecordError::Unknown("it is compressed by Zstandard")),
    };
    let input = source.into_inner();
    let parts = [&parts[0][..], &parts[1], &parts[2]];
    let record = BlobRecord { method, blob: input.hasher.finish(), blob_size: input.size, archive_size, parts };
    let record = record.to_bytes();
    if record.len() as u64 > record_max {
        return Err(BlobRecordError::Unknown("its record is too large"));
    }
    Ok(record)
}

/// Rebuilds a blob from its record and its archive. The size and the digest of what was written are compared.
///
/// # Errors
///
/// If the record is damaged, the archive is another one, or something cannot be read or written.
pub fn rebuild(record: &[u8], archive: &mut dyn Read, out: &mut dyn Write) -> Result<(), BlobRecordError> {
    let parsed = BlobRecord::parse(record)?;
    let mut out = HashedOutput { out, hasher: BlobHasher::default(), left: parsed.blob_size };
    let expected = parsed.blob;
    io::copy(&mut RebuiltBlob::new(record.to_vec(), archive)?, &mut out)?;
    if out.left > 0 {
        return Err(BlobRecordError::Damaged("the rebuilt blob is too short"));
    }
    let found = out.hasher.finish();
    if found != expected {
        return Err(BlobRecordError::Digest { expected, found });
    }
    Ok(())
}

/// Hashes what is read.
struct HashedInput<R> {
    input: R,
    hasher: BlobHasher,
    size: u64,
}

impl<R: Read> Read for HashedInput<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        self.hasher.update(&buffer[..len]);
        self.size += len as u64;
        Ok(len)
    }
}

/// Hashes what is written, and refuses more than the blob has.
struct HashedOutput<'o> {
    out: &'o mut dyn Write,
    hasher: BlobHasher,
    left: u64,
}

impl Write for HashedOutput<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the rebuilt blob is too long"))?;
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
