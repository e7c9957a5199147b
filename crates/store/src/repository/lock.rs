//! The lock that all programs share which know this layout: `flock` on the directory of the repository.
//!
//! Others hold it shared as long as they run, and alone to remove things. We hold it shared for as long as publishing takes,
//! and alone for a short while at a time, when things are removed (`docs/format/repository.md`, section 5).

use std::os::fd::OwnedFd;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use super::{Repository, RepositoryError, io_error};

/// The lock, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _directory: OwnedFd,
}

impl Repository {
    /// Keeps others from removing anything.
    pub(crate) fn lock_shared(&self) -> Result<Lock, RepositoryError> {
        self.lock(FlockOperation::LockShared)
    }

    /// Waits for all who publish, and keeps others from doing so.
    pub(crate) fn lock_alone(&self) -> Result<Lock, RepositoryError> {
        self.lock(FlockOperation::LockExclusive)
    }

    fn lock(&self, how: FlockOperation) -> Result<Lock, RepositoryError> {
        // A lock belongs to an open file: each needs one of its own.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(&self.directory, ".", flags, Mode::empty()).map_err(io_error("open", &self.path))?;
        wait_for(&directory, how).map_err(io_error("lock", &self.path))?;
        Ok(Lock { _directory: directory })
    }
}

/// Takes a lock, whatever signals come.
pub(crate) fn wait_for(file: &OwnedFd, how: FlockOperation) -> rustix::io::Result<()> {
    loop {
        match flock(file, how) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
