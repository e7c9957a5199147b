//! The directories in which the objects of an image are looked up, like the `basedir=` option of a mount.
//!
//! Unlike an [`ObjectDir`](crate::ObjectDir) this resolves the names in an image, and an image can name anything: a
//! payload is a path chosen by the author of the image. It is resolved as overlayfs does, never out of the directory
//! and through no symlink.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcomposefs_sys::resolve_beneath::{open_beneath, open_directory_beneath};
use rustix::fs::{Dir, FileType, Mode, OFlags, fstat, open, openat};
use rustix::io::Errno;

use crate::object::Object;
use crate::object::error::ObjectError;

/// The largest number of names that are listed.
const MAX_NAMES: usize = 1 << 20;

const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Object directories, in the order in which they are searched.
#[derive(Debug)]
pub struct Basedirs {
    directories: Vec<(OwnedFd, PathBuf)>,
}

impl Basedirs {
    /// Opens the directories.
    ///
    /// # Errors
    ///
    /// One of the paths is not a directory, or cannot be opened.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self, ObjectError> {
        let open = |path: &P| {
            let path = path.as_ref();
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            match open(path, flags, Mode::empty()) {
                Ok(directory) => Ok((directory, path.to_owned())),
                Err(errno) => Err(ObjectError::Basedir { path: path.to_owned(), source: errno.into() }),
            }
        };
        Ok(Self { directories: paths.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// Returns true if there is no directory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }

    /// Returns the first directory, where new objects would go.
    #[must_use]
    pub fn first(&self) -> Option<BorrowedFd<'_>> {
        self.directories.first().map(|(directory, _)| directory.as_fd())
    }

    /// Returns the names in a directory below the directories, sorted. A directory that does not exist has none.
    ///
    /// # Errors
    ///
    /// What opening and reading the directory give; `EOVERFLOW` for more than a million names.
    pub fn names_in(&self, below: &[u8]) -> rustix::io::Result<BTreeSet<Vec<u8>>> {
        let mut names = BTreeSet::new();
        for (directory, _) in &self.directories {
            let found = match open_directory_beneath(directory.as_fd(), below) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                found => found?,
            };
            for entry in Dir::read_from(openat(&found, c".", LIST, Mode::empty())?)? {
                names.insert(entry?.file_name().to_bytes().to_vec());
                if names.len() > MAX_NAMES {
                    return Err(Errno::OVERFLOW);
                }
            }
        }
        Ok(names)
    }

    /// Opens the object that a payload names, in the first directory that has a regular file there. The content is
    /// not checked.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Missing`] if no directory has an entry of that name, else the first problem found.
    pub fn open_object(&self, payload: &[u8]) -> Result<Object, ObjectError> {
        // Overlayfs ignores leading slashes of a payload.
        let slashes = payload.iter().take_while(|byte| **byte == b'/').count();
        let below = &payload[slashes..];
        let mut wrong = None;
        for (directory, path) in &self.directories {
            match open_in(directory, path, below) {
                Ok(Some(object)) => return Ok(object),
                Ok(None) => {}
                Err(error) => drop(wrong.get_or_insert(error)),
            }
        }
        let missing = || ObjectError::Missing {
            payload: payload.to_owned(),
            basedirs: self.directories.iter().map(|(_, path)| path.clone()).collect(),
        };
        Err(wrong.unwrap_or_else(missing))
    }
}

fn open_in(directory: &OwnedFd, path: &Path, below: &[u8]) -> Result<Option<Object>, ObjectError> {
    let path = || path.join(OsStr::from_bytes(below));
    let file = match open_beneath(directory.as_fd(), below) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno @ (Errno::XDEV | Errno::LOOP)) => {
            return Err(ObjectError::LeadsAway { path: path(), source: errno.into() });
        }
        // A socket, or a device without a driver.
        Err(Errno::NXIO | Errno::NODEV) => return Err(ObjectError::NotRegular { path: path() }),
        Err(errno) => return Err(ObjectError::Io { step: "open", path: path(), source: errno.into() }),
    };
    let stat = fstat(&file).map_err(|errno| ObjectError::Io { step: "stat", path: path(), source: errno.into() })?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(ObjectError::NotRegular { path: path() });
    }
    Ok(Some(Object::new(file, path(), &stat)))
}
