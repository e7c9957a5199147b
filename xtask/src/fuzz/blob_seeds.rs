//! Seeds of the target that makes and reads records of compressed blobs.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process;

/// Number of encoders that a record can name.
const ENCODERS: u8 = 24;

pub(super) fn records(dir: &Path, max_len: usize) -> Result<()> {
    let work = tempfile::tempdir()?;
    let text: String = (0..900).map(|line| format!("{} of the text\n", line * 7919 % 101)).collect();
    let archive = work.path().join("archive");
    fs::write(&archive, &text)?;
    let put = |name: &str, kind: &[u8], bytes: &[u8]| {
        let seed = [kind, bytes].concat();
        if seed.len() <= max_len { fs::write(dir.join(name), seed) } else { Ok(()) }
    };
    for level in ["-1", "-3", "-6", "-9"] {
        let blob = process::output(Command::new("gzip").args(["-nc", level]).arg(&archive))?;
        put(&format!("gzip{level}"), b"b", &blob)?;
        // Two members, and zeros.
        put(&format!("members{level}"), b"b", &[&blob[..], &blob, &[0; 16]].concat())?;
    }
    put("plain", b"b", text.as_bytes())?;
    for encoder in 1..=ENCODERS {
        for (segment, name) in [(&[0][..], "whole"), (&[0x80, 0x20], "segments")] {
            put(&format!("parts-{encoder}-{name}"), b"p", &parts(encoder, segment, b"abcdefgh"))?;
            put(&format!("text-{encoder}-{name}"), b"p", &parts(encoder, segment, &text.as_bytes()[..2000]))?;
        }
    }
    let record = fs::read(crate::paths::checkout().join("crates/oci/tests/blob_records/go.record"))?;
    put("record", b"r", &[sized(&record), text.into_bytes()].concat())?;
    Ok(())
}

/// The parts of a record of one member with one block of the fixed codes, whose tokens are as predicted; an archive.
fn parts(encoder: u8, segment: &[u8], archive: &[u8]) -> Vec<u8> {
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let len = [archive.len() as u8 | 0x80, (archive.len() >> 7) as u8];
    // A member with its header; the last block, with as many tokens as there are bytes; padding, trailer, end.
    let heads = [&[1, 10][..], &header, &[3], &len, &[0; 9], &[0]].concat();
    let streams = [&len[..], &[encoder], segment].concat();
    [sized(&heads), sized(&[200, 1]), sized(&streams), archive.to_vec()].concat()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_le_bytes()[..], bytes].concat()
}
