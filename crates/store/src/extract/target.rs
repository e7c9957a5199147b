//! The directory that a tree is extracted to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, Mode, OFlags, mkdir, open};
use rustix::io::Errno;

use super::error::ExtractError;

/// The open target directory.
#[derive(Debug)]
pub(super) struct TargetDir {
    directory: OwnedFd,
    path: PathBuf,
}

impl TargetDir {
    /// Opens the target, creating it if it does not exist. Symlinks in its path are the caller's own and are
    /// followed.
    pub(super) fn open(path: &Path, merge: bool) -> Result<Self, ExtractError> {
        let failed = |step| move |errno: Errno| target_error(step, path, errno);
        match mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            // On a read-only file system `mkdir` also fails for an existing directory.
            Err(_) if path.is_dir() => {}
            Err(errno) => return Err(failed("make the directory")(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(path, flags, Mode::empty()).map_err(failed("open the directory"))?;
        let target = Self { directory, path: path.to_owned() };
        if !merge && !target.is_empty().map_err(failed("read the directory"))? {
            return Err(ExtractError::NotEmpty { target: path.to_owned() });
        }
        Ok(target)
    }

    fn is_empty(&self) -> rustix::io::Result<bool> {
        for entry in Dir::read_from(&self.directory)? {
            if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn error(&self, step: &'static str, source: impl Into<std::io::Error>) -> ExtractError {
        target_error(step, &self.path, source)
    }
}

fn target_error(step: &'static str, target: &Path, source: impl Into<std::io::Error>) -> ExtractError {
    ExtractError::Target { step, target: target.to_owned(), source: source.into() }
}

impl AsFd for TargetDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}
