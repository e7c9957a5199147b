//! Files that are cloned before the caller reads them, and hashes what it reads.
//!
//! The caller passes a file through several digests at once, so the store need not read it once more: the digest of
//! the source is that of the clone, if the source certainly has not changed meanwhile (`unchanged.rs`).

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use libcomposefs_content::{SourceFile, digest_pieces};
use libcomposefs_image::digest::Digest;
use libcomposefs_image::tree::Timestamp;
use libcomposefs_sys::copy::READ_SIZE;

use crate::batch::{Batch, PutOutcome};
use crate::error::Error;
use crate::existing::ExpectedContent;
use crate::ingest::Temporary;

/// A clone that is no object yet, and the file it was made of.
#[derive(Debug)]
pub struct ClonedFile {
    temporary: Temporary,
    file: Arc<OwnedFd>,
    device: u64,
    size: u64,
    changed: Timestamp,
}

impl Batch<'_> {
    /// Clones a file that the caller is about to read. Returns `None` if the file system cannot, or if objects are
    /// expected to exist already, as a clone would be made in vain.
    ///
    /// # Errors
    ///
    /// The clone cannot be made.
    pub fn clone_file(&self, file: &Arc<OwnedFd>) -> Result<Option<ClonedFile>, Error> {
        self.proceed()?;
        let source = SourceFile::of(file.as_fd())?;
        if self.expect_present.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let SourceFile { device, size, changed, .. } = source;
        let temporary = self.copier.clone_file(self.store, &source)?;
        Ok(temporary.map(|temporary| ClonedFile { temporary, file: Arc::clone(file), device, size, changed }))
    }

    /// Returns true unless the file system could not clone a file of the same device before.
    ///
    /// # Errors
    ///
    /// `fstat` failed.
    pub fn may_clone(&self, file: &OwnedFd) -> Result<bool, Error> {
        Ok(self.copier.may_clone(SourceFile::of(file.as_fd())?.device))
    }

    /// Stores a clone. `digest` is that of the bytes that the caller has read from the file since it was cloned.
    ///
    /// # Errors
    ///
    /// The file was changed meanwhile, or as [`put_bytes`](Self::put_bytes).
    pub fn put_clone(&self, clone: ClonedFile, digest: Digest) -> Result<PutOutcome, Error> {
        let ClonedFile { temporary, file, device, size, changed } = clone;
        let source = SourceFile { file: file.as_fd(), device, size, changed };
        if !self.copier.is_unchanged(&source, temporary.as_fd()) {
            let stored = digest_pieces(temporary.as_fd(), digest.algorithm(), &mut vec![0; READ_SIZE])?;
            if stored != digest {
                return Err(Error::changed(&digest, &stored));
            }
        }
        Ok(self.finish_put(digest, ExpectedContent::Size(size), || Ok(temporary))?.1)
    }
}
