//! Records of given parts, for the fuzz targets: what is compressed is hard to change by chance.

use std::io;

use super::format::{BlobMethod, BlobRecord};
use crate::BlobDigest;

/// Returns a gzip record of these heads, differences and streams, for a blob of `size` bytes.
///
/// # Errors
///
/// If the compressor has no memory.
pub fn record_of_parts(parts: [&[u8]; 3], size: u64) -> io::Result<Vec<u8>> {
    let [heads, differences, streams] = parts.map(|part| zstd::encode_all(part, 1));
    let parts = [&*heads?, &*differences?, &*streams?];
    let blob = BlobDigest::of(b"blob");
    Ok(BlobRecord { method: BlobMethod::Gzip, blob, blob_size: size, archive_size: 0, parts }.to_bytes())
}
