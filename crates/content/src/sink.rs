//! Where the contents of files go.

use std::error::Error;
use std::io;
use std::os::fd::BorrowedFd;

use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_image::tree::Timestamp;
use libcomposefs_image::verity::{self, Hasher};
use libcomposefs_sys::sparse::{Stretch, read_sparse};
use rustix::fs::fstat;

/// What a sink gives as the reason of a failure.
pub type SinkError = Box<dyn Error + Send + Sync>;

/// A regular file whose content a sink is given.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    /// The file, open for reading. Its offset means nothing: read with `pread`.
    pub file: BorrowedFd<'a>,
    /// The device number of the file system it is on.
    pub device: u64,
    /// Its size when it was found.
    pub size: u64,
    /// When its inode had changed last, as it was found.
    pub changed: Timestamp,
}

impl<'a> SourceFile<'a> {
    /// A file as it is now.
    ///
    /// # Errors
    ///
    /// What `fstat` gives.
    // The fields have other types on other machines.
    #[allow(clippy::unnecessary_cast)]
    pub fn of(file: BorrowedFd<'a>) -> io::Result<Self> {
        let stat = fstat(file)?;
        let changed = Timestamp { sec: stat.st_ctime as i64, nsec: stat.st_ctime_nsec as u32 };
        Ok(Self { file, device: stat.st_dev as u64, size: stat.st_size as u64, changed })
    }
}

/// Takes the contents of files, from all threads at once, and names each by its digest.
pub trait ContentSink: Sync {
    /// Takes a small content, with its digest. Its file is closed.
    ///
    /// # Errors
    ///
    /// Whatever ends the scan.
    fn take_small(&self, content: &[u8], digest: &Digest) -> Result<(), SinkError>;

    /// Contents up to this length, if they are not small, are read whole and go to [`take_bytes`](Self::take_bytes); longer
    /// ones go to [`take_file`](Self::take_file).
    fn whole_max(&self) -> usize;

    /// Takes a content that was read whole. The file it came from is there to be cloned; it may have changed since.
    ///
    /// # Errors
    ///
    /// Whatever ends the scan.
    fn take_bytes(&self, content: &[u8], source: &SourceFile<'_>) -> Result<Digest, SinkError>;

    /// Takes the content of a larger file, using `buffer` to read it. The digest is that of what the sink has
    /// read or stored, which is not what the file holds by now if somebody writes to it: the scan finds that out.
    ///
    /// # Errors
    ///
    /// Whatever ends the scan.
    fn take_file(&self, source: &SourceFile<'_>, buffer: &mut [u8]) -> Result<Digest, SinkError>;
}

/// Hashes contents and keeps none.
#[derive(Clone, Copy, Debug)]
pub struct DigestOnly(pub Algorithm);

impl ContentSink for DigestOnly {
    fn take_small(&self, _content: &[u8], _digest: &Digest) -> Result<(), SinkError> {
        Ok(())
    }

    /// Pieces are still in the core's own cache when they are hashed.
    fn whole_max(&self) -> usize {
        0
    }

    fn take_bytes(&self, content: &[u8], _source: &SourceFile<'_>) -> Result<Digest, SinkError> {
        Ok(verity::digest(self.0, content))
    }

    fn take_file(&self, source: &SourceFile<'_>, buffer: &mut [u8]) -> Result<Digest, SinkError> {
        Ok(digest_pieces(source.file, self.0, buffer)?)
    }
}

/// The digest of what a file holds, read into `buffer` piece by piece. Holes are not read.
///
/// # Errors
///
/// What reading gives.
pub fn digest_pieces(file: BorrowedFd<'_>, algorithm: Algorithm, buffer: &mut [u8]) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    read_sparse(file, buffer, |_, stretch| {
        match stretch {
            Stretch::Bytes(piece) => hasher.update(piece),
            Stretch::Zeros(len) => hasher.update_zeros(len),
        }
        Ok::<_, io::Error>(())
    })?;
    Ok(hasher.finish())
}
