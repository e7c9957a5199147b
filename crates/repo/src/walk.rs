//! Lists of all entries below a directory of refs, whatever their names.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use libcomposefs_sys::resolve_beneath::open_directory_beneath;
use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;

use crate::RepositoryError;
use crate::dir::{LinkEntry, RepoDir, read_link};
use crate::error::io_error;

/// The entries below a directory. All paths are below the repository, as bytes: names of other programs may not be
/// UTF-8.
#[derive(Debug, Default)]
pub(crate) struct RefWalk {
    /// Entries that are no directories.
    pub(crate) entries: Vec<RefEntry>,
    /// Paths of the directories.
    pub(crate) folders: Vec<Vec<u8>>,
    /// Paths of directories that cannot be read.
    pub(crate) unreadable: Vec<(Vec<u8>, RepositoryError)>,
}

/// A symlink, or an entry of another type in its place.
#[derive(Debug)]
pub(crate) struct RefEntry {
    /// Path of the entry.
    pub(crate) path: Vec<u8>,
    /// The entry as it was read; not [`LinkEntry::Nothing`].
    pub(crate) found: LinkEntry,
}

impl RefWalk {
    /// Lists everything below a directory of the repository. The list is empty if the directory does not exist.
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
                // The directory was empty, and was removed meanwhile.
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
                LinkEntry::Nothing => {}
                LinkEntry::Other => match statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                        self.folders.push(below)
                    }
                    Err(Errno::NOENT) => {}
                    _ => self.entries.push(RefEntry { path: below, found: LinkEntry::Other }),
                },
                found => self.entries.push(RefEntry { path: below, found }),
            }
        }
        Ok(())
    }
}
