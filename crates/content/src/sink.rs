//! Sinks that receive the contents of files.

use std::error::Error;
use std::io;
use std::os::fd::BorrowedFd;

use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_image::tree::Timestamp;
use libcomposefs_image::verity::{self, Hasher};
use libcomposefs_sys::sparse::{Stretch, read_sparse};
use rustix::fs::fstat;

/// The error type of a [`ContentSink`].
pub type SinkError = Box<dyn Error + Send + Sync>;

/// A regular file whose content is passed to a sink.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    /// The file, open for reading. Its offset is undefined: use `pread`.
    pub file: BorrowedFd<'a>,
    /// Device number of the file system that the file is on.
    pub device: u64,
    /// Size of the file when it was found.
    pub size: u64,
    /// Change time (ctime) of the inode when the file was found.
    pub changed: Timestamp,
}

impl<'a> SourceFile<'a> {
    /// Describes an open file as it is now.
    ///
    /// # Errors
    ///
    /// `fstat` failed.
    // The types of the fields differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    pub fn of(file: BorrowedFd<'a>) -> io::Result<Self> {
        let stat = fstat(file)?;
        let changed = Timestamp { sec: stat.st_ctime as i64, nsec: stat.st_ctime_nsec as u32 };
        Ok(Self { file, device: stat.st_dev as u64, size: stat.st_size as u64, changed })
    }
}

/// Receives the contents of files, from several threads at once, and returns the digest of each.
pub trait ContentSink: Sync {
    /// Receives a small content and its digest. The file is closed already.
    ///
    /// # Errors
    ///
    /// Any error ends the scan.
    fn take_small(&self, content: &[u8], digest: &Digest) -> Result<(), SinkError>;

    /// Returns the length up to which contents that are not small are read whole and passed to
    /// [`take_bytes`](Self::take_bytes). Longer ones are passed to [`take_file`](Self::take_file).
    fn whole_max(&self) -> usize;

    /// Receives a content that was read whole, and the file it was read from, which can be cloned. The file may have
    /// changed since.
    ///
    /// # Errors
    ///
    /// Any error ends the scan.
    fn take_bytes(&self, content: &[u8], source: &SourceFile<'_>) -> Result<Digest, SinkError>;

    /// Receives a larger file, and reads it with `buffer`. Returns the digest of the bytes that the sink has read or
    /// stored. If another process writes to the file, they differ from its present content; the scan detects that.
    ///
    /// # Errors
    ///
    /// Any error ends the scan.
    fn take_file(&self, source: &SourceFile<'_>, buffer: &mut [u8]) -> Result<Digest, SinkError>;
}

/// A sink that hashes contents and stores none.
#[derive(Clone, Copy, Debug)]
pub struct DigestOnly(pub Algorithm);

impl ContentSink for DigestOnly {
    fn take_small(&self, _content: &[u8], _digest: &Digest) -> Result<(), SinkError> {
        Ok(())
    }

    /// Returns 0: pieces are hashed while they are still in the core's own cache.
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

/// Computes the digest of a file, reading it into `buffer` piece by piece. Holes are not read.
///
/// # Errors
///
/// Reading failed.
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
