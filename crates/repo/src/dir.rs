//! Directories and symlinks below a repository, opened from its directory down without following symlinks.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libcomposefs_image::Algorithm;
use libcomposefs_sys::resolve_beneath::open_directory_beneath;
use rustix::fs::{AtFlags, Mode, OFlags, fsync, mkdirat, openat, readlinkat, renameat, symlinkat, unlinkat};
use rustix::io::Errno;

use crate::RepositoryError;
use crate::error::io_error;
use crate::wait::WaitPolicy;

/// Mode of new directories, less the umask. The mode of the repository itself keeps other users out.
pub(crate) const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// The result of reading a name that should be a symlink.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LinkEntry {
    Nothing,
    /// A symlink with this text.
    Link(Vec<u8>),
    /// Something that is no symlink.
    Other,
}

/// Reads a name in a directory.
pub(crate) fn read_link(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<LinkEntry> {
    match readlinkat(directory, OsStr::from_bytes(name), Vec::new()) {
        Ok(text) => Ok(LinkEntry::Link(text.into_bytes())),
        Err(Errno::NOENT) => Ok(LinkEntry::Nothing),
        Err(Errno::INVAL) => Ok(LinkEntry::Other),
        Err(errno) => Err(errno),
    }
}

/// The directory of a repository, with the settings that work below it needs.
#[derive(Clone, Debug)]
pub(crate) struct RepoDir {
    pub(crate) fd: Arc<OwnedFd>,
    /// The path that the repository was opened by.
    pub(crate) path: PathBuf,
    /// The algorithm of all digests in the repository.
    pub(crate) algorithm: Algorithm,
    /// The policy of waiting for locks.
    pub(crate) wait: WaitPolicy,
}

impl AsFd for RepoDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl RepoDir {
    /// Opens the directory of the repository once more.
    pub(crate) fn reopen(&self) -> Result<OwnedFd, RepositoryError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(self, ".", flags, Mode::empty()).map_err(io_error("open", &self.path))
    }

    /// Opens a directory below the repository; `None` if it does not exist.
    pub(crate) fn open_dir(&self, path: &str) -> Result<Option<OwnedFd>, RepositoryError> {
        match open_directory_beneath(self.as_fd(), path.as_bytes()) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(io_error("open the directory", self.path.join(path))(errno)),
        }
    }

    /// Opens a directory below the repository. A missing one is made, with its parents, and is on disk when this
    /// returns.
    pub(crate) fn make_dir(&self, path: &str) -> Result<OwnedFd, RepositoryError> {
        if let Some(directory) = self.open_dir(path)? {
            return Ok(directory);
        }
        let mut at = open_directory_beneath(self.as_fd(), b".").map_err(io_error("open", &self.path))?;
        let mut done = self.path.clone();
        for part in path.split('/') {
            done.push(part);
            at = make_directory_in(at.as_fd(), part, &done)?;
        }
        Ok(at)
    }

    /// Returns the bytes of a path below the repository, without the repository's own path.
    pub(crate) fn below(&self, path: &Path) -> Vec<u8> {
        path.strip_prefix(&self.path).unwrap_or(path).as_os_str().as_bytes().to_vec()
    }
}

/// Makes a symlink, or replaces the symlink of that name, and syncs the directory. `temporary` is a directory and an
/// unused name in it, for a symlink that is renamed over the old one.
pub(crate) fn put_link(
    directory: BorrowedFd<'_>,
    name: &str,
    text: &[u8],
    (aside, temporary): (BorrowedFd<'_>, String),
    path: &Path,
) -> Result<(), RepositoryError> {
    match symlinkat(text, directory, name) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            symlinkat(text, aside, &temporary).map_err(io_error("make", path))?;
            if let Err(errno) = renameat(aside, &temporary, directory, name) {
                let _ = unlinkat(aside, &temporary, AtFlags::empty());
                return Err(io_error("replace", path)(errno));
            }
        }
        Err(errno) => return Err(io_error("make", path)(errno)),
    }
    fsync(directory).map_err(io_error("sync the directory of", path))
}

/// Opens a directory in another, and makes it if it is missing. Fails with `ENOENT` if another process has removed the
/// empty parent.
pub(crate) fn make_directory_in(above: BorrowedFd<'_>, name: &str, path: &Path) -> Result<OwnedFd, RepositoryError> {
    for _ in 0..8 {
        match open_directory_beneath(above, name.as_bytes()) {
            Ok(directory) => return Ok(directory),
            Err(Errno::NOENT) => match mkdirat(above, name, DIRECTORY_MODE) {
                Ok(()) => fsync(above).map_err(io_error("sync the directory of", path))?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(io_error("make the directory", path)(errno)),
            },
            Err(errno) => return Err(io_error("open the directory", path)(errno)),
        }
    }
    Err(io_error("make the directory", path)(Errno::NOENT))
}
