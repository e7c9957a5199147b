//! Directories and links of a repository: opened from its directory down, by no symlink.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libcomposefs_sys::beneath::open_directory_beneath;
use rustix::fs::{AtFlags, Mode, fsync, mkdirat, readlinkat, renameat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::lease::Lease;
use super::{Repository, RepositoryError, io_error};

/// The mode of directories, less the umask. The repository's own is what keeps others out.
pub(crate) const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// What is under a name that should be a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Found {
    Nothing,
    /// What the link holds.
    Link(Vec<u8>),
    /// Something else.
    Other,
}

/// Looks at a name in a directory.
pub(crate) fn read_link(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Found> {
    match readlinkat(directory, OsStr::from_bytes(name), Vec::new()) {
        Ok(text) => Ok(Found::Link(text.into_bytes())),
        Err(Errno::NOENT) => Ok(Found::Nothing),
        Err(Errno::INVAL) => Ok(Found::Other),
        Err(errno) => Err(errno),
    }
}

impl Repository {
    /// Opens a directory of the repository; `None` if it is not there.
    pub(crate) fn directory(&self, path: &str) -> Result<Option<OwnedFd>, RepositoryError> {
        match open_directory_beneath(self.directory.as_fd(), path.as_bytes()) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(io_error("open the directory", self.path.join(path))(errno)),
        }
    }

    /// Opens a directory, made with those above if it is not there. What was made is on disk when this returns.
    pub(crate) fn make_directory(&self, path: &str) -> Result<OwnedFd, RepositoryError> {
        if let Some(directory) = self.directory(path)? {
            return Ok(directory);
        }
        let mut at = open_directory_beneath(self.directory.as_fd(), b".").map_err(io_error("open", &self.path))?;
        let mut done = self.path.clone();
        for part in path.split('/') {
            done.push(part);
            at = make_directory_in(at.as_fd(), part, &done)?;
        }
        Ok(at)
    }

    /// Gives a name in a directory to a link, in place of whatever link has it, and syncs the directory.
    pub(crate) fn put_link(
        &self,
        lease: &Lease,
        directory: BorrowedFd<'_>,
        name: &str,
        text: &[u8],
        path: &Path,
    ) -> Result<(), RepositoryError> {
        match symlinkat(text, directory, name) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let (leases, temporary) = lease.temporary_name();
                symlinkat(text, leases, &temporary).map_err(io_error("make", path))?;
                if let Err(errno) = renameat(leases, &temporary, directory, name) {
                    let _ = unlinkat(leases, &temporary, AtFlags::empty());
                    return Err(io_error("replace", path)(errno));
                }
            }
            Err(errno) => return Err(io_error("make", path)(errno)),
        }
        fsync(directory).map_err(io_error("sync the directory of", path))
    }
}

/// Opens a directory in another, made if it is not there. The other may be removed meanwhile, when it is empty: `ENOENT`.
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
