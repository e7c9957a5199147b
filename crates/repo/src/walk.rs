//! All entries below a directory of names, by whatever names they have.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use libcomposefs_sys::beneath::open_directory_beneath;
use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;

use crate::RepositoryError;
use crate::dir::{Found, RepoDir, read_link};
use crate::error::io_error;

/// What is below a directory. All paths are below the repository, as bytes: names of other programs need not be text.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// All that is no directory.
    pub(crate) entries: Vec<Entry>,
    /// The directories.
    pub(crate) folders: Vec<Vec<u8>>,
    /// Directories that cannot be read.
    pub(crate) unreadable: Vec<(Vec<u8>, RepositoryError)>,
}

/// A link, or something in the place of one.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its path.
    pub(crate) path: Vec<u8>,
    /// What it is; not [`Found::Nothing`].
    pub(crate) found: Found,
}

impl Walk {
    /// Lists everything below a directory of the repository; nothing if it is not there.
    ///
    /// # Errors
    ///
    /// If the directory itself cannot be read.
    pub(crate) fn of(dir: &RepoDir, top: &str) -> Result<Self, RepositoryError> {
        let mut walk = Self::default();
        let Some(directory) = dir.open_dir(top)? else { return Ok(walk) };
        walk.list_folder(dir, &directory, top.as_bytes())?;
        let mut next = 0;
        while let Some(folder) = walk.folders.get(next).cloned() {
            next += 1;
            let below = folder.get(top.len() + 1..).unwrap_or_default();
            let opened = match open_directory_beneath(directory.as_fd(), below) {
                // It was empty, and was removed since.
                Err(Errno::NOENT) => continue,
                result => result.map_err(io_error("open the directory", dir.path.join(OsStr::from_bytes(&folder)))),
            };
            if let Err(error) = opened.and_then(|opened| walk.list_folder(dir, &opened, &folder)) {
                walk.unreadable.push((folder, error));
            }
        }
        Ok(walk)
    }

    fn list_folder(&mut self, dir: &RepoDir, directory: &OwnedFd, folder: &[u8]) -> Result<(), RepositoryError> {
        let path = dir.path.join(OsStr::from_bytes(folder));
        for entry in Dir::read_from(directory).map_err(io_error("list", &path))? {
            let entry = entry.map_err(io_error("list", &path))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let below = [folder, b"/", name].concat();
            match read_link(directory.as_fd(), name).map_err(io_error("read", path.join(OsStr::from_bytes(name))))? {
                Found::Nothing => {}
                Found::Other => match statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                        self.folders.push(below)
                    }
                    Err(Errno::NOENT) => {}
                    _ => self.entries.push(Entry { path: below, found: Found::Other }),
                },
                found => self.entries.push(Entry { path: below, found }),
            }
        }
        Ok(())
    }
}
