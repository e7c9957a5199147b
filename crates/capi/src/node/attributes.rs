//! Size, payload, content and digest, which depend on each other.

use std::cell::Ref;
use std::ffi::{CStr, CString};

use libcomposefs_image::tree::{Kind, MAX_INLINE, MAX_PATH};
use rustix::io::Errno;

use super::Node;

/// The length of the only digests that the C library knows: SHA-256.
pub(crate) const DIGEST_LEN: usize = 32;

impl Node {
    /// The type, if the mode has one.
    pub(crate) fn kind(&self) -> Option<Kind> {
        Kind::from_mode(self.mode.get())
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.get()
    }

    /// Sets the size; content of another one is forgotten.
    pub(crate) fn set_size(&self, size: u64) {
        if self.size.replace(size) != size {
            self.content.take();
        }
    }

    /// A symlink's target or the path of a file's object.
    pub(crate) fn payload(&self) -> Ref<'_, Option<CString>> {
        self.payload.borrow()
    }

    /// Sets or removes the payload.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG`
    pub(crate) fn set_payload(&self, payload: Option<&CStr>) -> Result<(), Errno> {
        if payload.is_some_and(|payload| payload.count_bytes() > MAX_PATH) {
            return Err(Errno::NAMETOOLONG);
        }
        self.payload.replace(payload.map(CStr::to_owned));
        Ok(())
    }

    /// The content that is kept in the image.
    pub(crate) fn content(&self) -> Ref<'_, Option<Vec<u8>>> {
        self.content.borrow()
    }

    /// Keeps the content in the image, and sets the size to its length.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is longer than an image can hold.
    pub(crate) fn set_content(&self, content: &[u8]) -> Result<(), Errno> {
        if content.len() > MAX_INLINE {
            return Err(Errno::INVAL);
        }
        self.content.replace((!content.is_empty()).then(|| content.to_vec()));
        self.size.set(content.len() as u64);
        Ok(())
    }

    /// The fs-verity digest of a file's content.
    pub(crate) fn digest(&self) -> Option<[u8; DIGEST_LEN]> {
        self.has_digest.get().then(|| self.digest.get())
    }

    /// Returns a pointer to the digest, valid as long as the node lives.
    pub(crate) fn digest_ptr(&self) -> Option<*const u8> {
        self.has_digest.get().then(|| self.digest.as_ptr().cast::<u8>().cast_const())
    }

    pub(crate) fn set_digest(&self, digest: [u8; DIGEST_LEN]) {
        self.digest.set(digest);
        self.has_digest.set(true);
    }

    pub(crate) fn clear_digest(&self) {
        self.has_digest.set(false);
    }
}
