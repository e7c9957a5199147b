//! A private directory in the target, in which files are made before they are moved to their place.
//!
//! No other user can open it, whatever the mode of the target. So a name in it keeps referring to the same file, and
//! `chown` cannot be tricked into changing another one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libcomposefs_sys::tempfile::{Temporary, make_private_directory};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, linkat, mkdirat, openat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::error::FileError;

/// Prefix of the name of the directory.
const PREFIX: &str = ".composefs-extract-";

pub(super) const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The staging directory; removed when it is dropped.
#[derive(Debug)]
pub(super) struct Staging {
    target: OwnedFd,
    name: String,
    directory: Arc<OwnedFd>,
    next: AtomicU64,
    merge: bool,
}

impl Staging {
    pub(super) fn new(target: BorrowedFd<'_>, merge: bool) -> io::Result<Self> {
        let (name, directory) = make_private_directory(target, PREFIX)?;
        let target = target.try_clone_to_owned()?;
        Ok(Self { target, name, directory: Arc::new(directory), next: AtomicU64::new(0), merge })
    }

    /// Creates an unnamed temporary file.
    pub(super) fn file(&self) -> Result<Temporary, FileError> {
        Temporary::create(&self.directory, 0o600).map_err(FileError::io("create"))
    }

    /// Returns a name that is not used yet.
    pub(super) fn free_name(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Links a file to its name in the target.
    pub(super) fn place_file(
        &self,
        mut file: Temporary,
        directory: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), FileError> {
        match file.link(directory, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.merge => {
                file.replace(directory, name).map_err(place_error)
            }
            result => result.map_err(place_error),
        }
    }

    /// Moves a staged file, not a directory, to its place in the target. If that fails it is removed.
    pub(super) fn place(&self, staged: &str, directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), FileError> {
        let placed = match renameat_with(&self.directory, staged, directory, name, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) if self.merge => renameat(&self.directory, staged, directory, name),
            // The file system does not support the flag (for example NFS).
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                linkat(&self.directory, staged, directory, name, AtFlags::empty()).and_then(|()| self.remove(staged))
            }
            result => result,
        };
        if placed.is_err() {
            let _ = self.remove(staged);
        }
        placed.map_err(|errno| place_error(errno.into()))
    }

    /// Links a staged file to a further name in the target.
    pub(super) fn link(&self, staged: &str, directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), FileError> {
        match linkat(&self.directory, staged, directory, name, AtFlags::empty()) {
            Err(Errno::EXIST) if self.merge => {
                let again = self.free_name();
                linkat(&self.directory, staged, &self.directory, &again, AtFlags::empty())
                    .map_err(FileError::io("link"))?;
                let placed = renameat(&self.directory, &again, directory, name);
                // If both names refer to the same file already, `rename` leaves this one.
                let _ = self.remove(&again);
                placed.map_err(|errno| place_error(errno.into()))
            }
            result => result.map_err(|errno| place_error(errno.into())),
        }
    }

    /// Makes a directory in the target, or opens the existing one. Returns it with true if it is new. No other user
    /// can enter a new one.
    pub(super) fn make_directory(
        &self,
        parent: BorrowedFd<'_>,
        parent_is_new: bool,
        name: &[u8],
    ) -> Result<(OwnedFd, bool), FileError> {
        if parent_is_new {
            // No other process can have put an entry here. And moving a directory to its place makes the kernel check
            // all directories above it.
            mkdirat(parent, name, Mode::RWXU).map_err(|errno| place_error(errno.into()))?;
            let made = openat(parent, name, OPEN_DIRECTORY, Mode::empty()).map_err(FileError::io("open"))?;
            return Ok((made, true));
        }
        if self.merge {
            match openat(parent, name, OPEN_DIRECTORY, Mode::empty()) {
                // A symlink or another type of file is replaced.
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {}
                result => return result.map(|there| (there, false)).map_err(FileError::io("open")),
            }
        }
        let staged = self.free_name();
        mkdirat(&self.directory, &staged, Mode::RWXU).map_err(FileError::io("make"))?;
        let made = openat(&self.directory, &staged, OPEN_DIRECTORY, Mode::empty()).map_err(FileError::io("open"));
        let placed = made.and_then(|made| {
            self.place_directory(&staged, parent, name)?;
            Ok((made, true))
        });
        if placed.is_err() {
            let _ = unlinkat(&self.directory, &staged, AtFlags::REMOVEDIR);
        }
        placed
    }

    fn place_directory(&self, staged: &str, parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), FileError> {
        let rename = |flags| renameat_with(&self.directory, staged, parent, name, flags);
        match rename(RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) if self.merge => {
                rename(RenameFlags::EXCHANGE).map_err(|errno| place_error(errno.into()))?;
                // The replaced entry is not a directory, or it is one that appeared just now: move that back.
                match self.remove(staged) {
                    Ok(()) => Ok(()),
                    Err(errno) => {
                        let _ = rename(RenameFlags::EXCHANGE);
                        Err(place_error(errno.into()))
                    }
                }
            }
            // Without the flag `rename` can replace an empty directory, and nothing else.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                renameat(&self.directory, staged, parent, name).map_err(|errno| place_error(errno.into()))
            }
            result => result.map_err(|errno| place_error(errno.into())),
        }
    }

    /// Removes the staging directory, once nothing more is made in it.
    pub(super) fn remove_itself(&self) {
        // A failure cannot be reported here, and the name of the directory explains its purpose.
        let _ = unlinkat(&self.target, &self.name, AtFlags::REMOVEDIR);
    }

    /// Removes a staged file that is not a directory.
    pub(super) fn remove(&self, staged: &str) -> rustix::io::Result<()> {
        unlinkat(&self.directory, staged, AtFlags::empty())
    }
}

fn place_error(error: io::Error) -> FileError {
    match Errno::from_io_error(&error) {
        Some(Errno::EXIST) => FileError::Exists,
        Some(Errno::ISDIR | Errno::NOTEMPTY) => FileError::DirectoryInTheWay,
        _ => FileError::Io { step: "name", source: error },
    }
}

impl AsFd for Staging {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.remove_itself();
    }
}
