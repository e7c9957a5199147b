//! Copies the content of a blob to a file, and compares its size and digest.

use std::io::{Read, Write};

use super::{BlobContent, DestinationError};
use crate::{BlobDigest, BlobHasher};

/// Copies exactly `size` bytes whose digest is `digest`; `path` is that of the file, for messages.
pub(super) fn copy_hashed(
    content: &dyn BlobContent,
    digest: &BlobDigest,
    size: u64,
    out: &mut dyn Write,
    path: &str,
) -> Result<(), DestinationError> {
    let unreadable = |source| DestinationError::Content { digest: *digest, source };
    let wrong = |found: String| DestinationError::Blob { expected: *digest, found };
    let mut reader = content.open().map_err(unreadable)?;
    let (mut buffer, mut left, mut hasher) = (vec![0; 256 << 10], size, BlobHasher::default());
    loop {
        let len = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        left = left.checked_sub(len as u64).ok_or_else(|| wrong(format!("has more than {size} bytes")))?;
        hasher.update(&buffer[..len]);
        let failed = |source| DestinationError::Io { path: path.to_owned(), source };
        out.write_all(&buffer[..len]).map_err(failed)?;
    }
    if left > 0 {
        return Err(wrong(format!("has {} bytes, not {size}", size - left)));
    }
    match hasher.finish() {
        found if found == *digest => Ok(()),
        found => Err(wrong(format!("has the digest {found}"))),
    }
}
