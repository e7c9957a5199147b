//! The lock that all programs which know this layout share: `flock` on the directory of the repository.
//!
//! Other programs hold it shared for as long as they run, and exclusively to remove things. This program holds it
//! shared while it publishes, and exclusively for a short while at a time while it removes things
//! (`docs/format/repository.md`, section 5).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;

use crate::dir::RepoDir;
use crate::error::io_error;
use crate::wait::LockMode;
use crate::{RepositoryError, layout};

/// The lock of a repository, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Locked {
    _directory: OwnedFd,
}

impl Locked {
    /// Keeps other processes from removing anything.
    pub(crate) fn shared(dir: &RepoDir) -> Result<Self, RepositoryError> {
        Self::lock(dir, LockMode::Shared)
    }

    /// Waits for all processes that publish, and keeps others from publishing.
    pub(crate) fn exclusive(dir: &RepoDir) -> Result<Self, RepositoryError> {
        Self::lock(dir, LockMode::Exclusive)
    }

    fn lock(dir: &RepoDir, mode: LockMode) -> Result<Self, RepositoryError> {
        // A lock belongs to an open file: each needs one of its own.
        let directory = dir.reopen()?;
        dir.wait.lock(&directory, mode, &dir.path).map_err(cannot_lock(&dir.path))?;
        Ok(Self { _directory: directory })
    }
}

/// The lock of the links of streams: `flock` on the directory `streams`, which only this program takes. Its holder
/// reads a link and replaces it, while others that publish wait.
#[derive(Debug)]
pub(crate) struct LockedStreams {
    _directory: OwnedFd,
}

impl LockedStreams {
    /// Waits for all processes that replace links of streams.
    pub(crate) fn lock(dir: &RepoDir, _locked: &Locked) -> Result<Self, RepositoryError> {
        let directory = dir.make_dir(layout::STREAMS)?;
        let path = dir.path.join(layout::STREAMS);
        dir.wait.lock(&directory, LockMode::Exclusive, &path).map_err(cannot_lock(&path))?;
        Ok(Self { _directory: directory })
    }
}

/// Returns the error of a lock whose wait was cancelled, or that cannot be taken.
pub(crate) fn cannot_lock(path: &Path) -> impl FnOnce(Errno) -> RepositoryError {
    move |errno| match errno {
        Errno::INTR => RepositoryError::Store(libcomposefs_store::Error::Interrupted),
        errno => io_error("lock", path)(errno),
    }
}
