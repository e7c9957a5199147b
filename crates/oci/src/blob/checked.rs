//! A blob whose size and digest are compared while it is read.

use std::fmt;
use std::io::{self, Read};

use crate::{BlobDigest, BlobHasher};

/// Reads a blob. The read that reaches its end fails if the size or the digest is another one.
pub struct CheckedBlob<R> {
    input: R,
    hasher: BlobHasher,
    left: u64,
    size: u64,
    expected: BlobDigest,
    is_checked: bool,
    /// The likely cause of another digest, and the remedy.
    cause: &'static str,
}

impl<R> fmt::Debug for CheckedBlob<R> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CheckedBlob").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl<R: Read> CheckedBlob<R> {
    /// Reads `input`, which a repository gives and which must have this digest and size.
    pub fn new(input: R, expected: BlobDigest, size: u64) -> Self {
        let cause = "the repository is damaged; pull the image again";
        Self { input, hasher: BlobHasher::default(), left: size, size, expected, is_checked: false, cause }
    }

    /// Reads `input`, which the source of an image gives and which must have this digest and size.
    pub(crate) fn of_source(input: R, expected: BlobDigest, size: u64) -> Self {
        Self { cause: "its source is damaged or not to be trusted", ..Self::new(input, expected, size) }
    }

    fn wrong(&self, what: &str) -> io::Error {
        let Self { expected, size, cause, .. } = self;
        io::Error::new(io::ErrorKind::InvalidData, format!("the blob {expected} of {size} bytes {what}: {cause}"))
    }

    fn check(&mut self) -> io::Result<()> {
        let found = std::mem::take(&mut self.hasher).finish();
        if found != self.expected {
            return Err(self.wrong(&format!("comes back with the digest {found}")));
        }
        self.is_checked = true;
        Ok(())
    }
}

impl<R: Read> Read for CheckedBlob<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_checked || buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            // An empty blob, or what follows the end.
            self.check()?;
            return Ok(0);
        }
        let len = self.input.read(buffer)?;
        let Some(left) = self.left.checked_sub(len as u64) else {
            return Err(self.wrong("comes back longer"));
        };
        if len == 0 {
            return Err(self.wrong(&format!("comes back without its last {} bytes", self.left)));
        }
        self.hasher.update(&buffer[..len]);
        self.left = left;
        if left == 0 {
            // Who knows the size may not read again.
            if self.input.read(&mut [0])? > 0 {
                return Err(self.wrong("comes back longer"));
            }
            self.check()?;
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], expected: &[u8], size: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        CheckedBlob::new(bytes, BlobDigest::of(expected), size).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn only_the_blob_itself_is_read_to_its_end() {
        assert_eq!(read(b"blob", b"blob", 4).unwrap(), b"blob");
        assert_eq!(read(b"", b"", 0).unwrap(), b"");
        for (bytes, expected, size, what) in [
            (&b"blub"[..], &b"blob"[..], 4, "with the digest"),
            (b"blo", b"blob", 4, "without its last 1 bytes"),
            (b"blob", b"blo", 3, "longer"),
            (b"", b"blob", 0, "with the digest"),
        ] {
            let error = read(bytes, expected, size).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn the_read_that_gives_the_last_byte_fails() {
        let mut blob = CheckedBlob::new(&b"blub"[..], BlobDigest::of(b"blob"), 4);
        assert!(blob.read(&mut [0; 4]).is_err());
    }
}
