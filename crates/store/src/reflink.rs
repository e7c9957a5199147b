//! Clones files by sharing their extents (reflinks), and remembers the devices from which that is not possible.

use std::collections::HashSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{PoisonError, RwLock};

use libcomposefs_sys::copy::{Cloned, clone_file};

/// Remembers which file systems can share extents with one file system.
#[derive(Debug, Default)]
pub(crate) struct ReflinkSupport {
    /// Device numbers of file systems that cannot.
    none_with: RwLock<HashSet<u64>>,
}

impl ReflinkSupport {
    /// Returns false if files of this device could not be cloned before.
    pub(crate) fn may_clone(&self, device: u64) -> bool {
        !self.none_with.read().unwrap_or_else(PoisonError::into_inner).contains(&device)
    }

    /// Makes `target`, an empty file, share the extents of a file on this device. Returns false if that is not
    /// possible.
    pub(crate) fn try_clone(&self, source: BorrowedFd<'_>, device: u64, target: BorrowedFd<'_>) -> io::Result<bool> {
        if !self.may_clone(device) {
            return Ok(false);
        }
        match clone_file(source, target)? {
            Cloned::Yes => Ok(true),
            Cloned::NotThese => Ok(false),
            Cloned::NotHere => {
                self.none_with.write().unwrap_or_else(PoisonError::into_inner).insert(device);
                Ok(false)
            }
        }
    }
}
