//! The directory of caches in a repository: its files can be removed at any time, and are never trusted.

use std::os::fd::OwnedFd;

use crate::{Repository, RepositoryError, layout};

impl Repository {
    /// Opens the directory of caches; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn cache(&self) -> Result<Option<OwnedFd>, RepositoryError> {
        self.dir.open_dir(layout::CACHE)
    }

    /// Opens the directory of caches, and makes it if it is missing.
    ///
    /// # Errors
    ///
    /// If it cannot be opened or made, or the repository is read-only.
    pub fn make_cache(&self) -> Result<OwnedFd, RepositoryError> {
        self.expect_writable()?;
        self.dir.make_dir(layout::CACHE)
    }
}
