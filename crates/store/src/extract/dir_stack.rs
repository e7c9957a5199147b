//! The directories one is in, from the target down, as descriptors.
//!
//! A tree may be deeper than a process may have files open. So only the innermost directories are open; one above them
//! is opened again by `..` of the one below when it is come back to, and is to be the one that it was.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use libcomposefs_sys::limits::open_files_max;
use rustix::fs::{Mode, fstat, openat};

use super::error::FileError;
use super::staging::OPEN_DIRECTORY;

/// How many of the innermost directories are open at most; fewer where the process may have few files open.
const MAX_OPEN: usize = 64;

/// Names an inode on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DirKey(u64, u64);

impl DirKey {
    // The fields have other types on other machines.
    #[allow(clippy::unnecessary_cast)]
    pub(super) fn of(directory: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        let stat = fstat(directory)?;
        Ok(Self(stat.st_dev as u64, stat.st_ino as u64))
    }
}

/// The directories from the target to the innermost one, each with what belongs to it.
#[derive(Debug)]
pub(super) struct DirStack<T> {
    levels: Vec<StackLevel<T>>,
    max_open: usize,
}

#[derive(Debug)]
struct StackLevel<T> {
    key: DirKey,
    /// Of the innermost directories.
    open: Option<Arc<OwnedFd>>,
    own: T,
}

impl<T> DirStack<T> {
    /// In the target.
    pub(super) fn new(target: BorrowedFd<'_>, own: T) -> Result<Self, FileError> {
        let target = target.try_clone_to_owned().map_err(FileError::io("open"))?;
        let mut descent = Self { levels: Vec::new(), max_open: (open_files_max() / 8).clamp(2, MAX_OPEN) };
        descent.enter(target, own)?;
        Ok(descent)
    }

    /// The innermost directory.
    pub(super) fn directory(&self) -> &Arc<OwnedFd> {
        let open = self.levels.last().and_then(|level| level.open.as_ref());
        open.expect("the innermost directory is open until the target is left")
    }

    /// What belongs to it.
    pub(super) fn own(&mut self) -> &mut T {
        &mut self.levels.last_mut().expect("nothing is asked for when the target was left").own
    }

    /// Goes into a directory of the innermost one.
    pub(super) fn enter(&mut self, directory: OwnedFd, own: T) -> Result<DirKey, FileError> {
        let key = DirKey::of(directory.as_fd()).map_err(FileError::io("stat"))?;
        self.levels.push(StackLevel { key, open: Some(Arc::new(directory)), own });
        if let Some(outer) = self.levels.len().checked_sub(self.max_open + 1) {
            self.levels[outer].open = None;
        }
        Ok(key)
    }

    /// Goes back to the directory above; gives back the one that is left, still open. The way back fails if the directory
    /// was moved: then what is above cannot be reached any more.
    pub(super) fn leave(&mut self) -> Result<(Arc<OwnedFd>, T), FileError> {
        let inner = Arc::clone(self.directory());
        let outer = self.levels.len().checked_sub(2).map(|index| &mut self.levels[index]);
        if let Some(outer) = outer.filter(|outer| outer.open.is_none()) {
            let above = openat(&inner, c"..", OPEN_DIRECTORY, Mode::empty()).map_err(FileError::io("go back from"))?;
            if DirKey::of(above.as_fd()).map_err(FileError::io("stat"))? != outer.key {
                return Err(FileError::Moved);
            }
            outer.open = Some(Arc::new(above));
        }
        let level = self.levels.pop().expect("it was open");
        Ok((inner, level.own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A descent so many levels below a directory.
    fn down(root: &std::path::Path, levels: usize) -> DirStack<usize> {
        let open = |path: &std::path::Path| rustix::fs::open(path, OPEN_DIRECTORY, Mode::empty()).unwrap();
        let mut descent = DirStack::new(open(root).as_fd(), 0).unwrap();
        for level in 1..=levels {
            rustix::fs::mkdirat(descent.directory(), "d", Mode::RWXU).unwrap();
            let inner = openat(descent.directory(), "d", OPEN_DIRECTORY, Mode::empty()).unwrap();
            descent.enter(inner, level).unwrap();
        }
        descent
    }

    #[test]
    fn only_the_innermost_are_open_and_all_are_come_back_to() {
        let root = tempfile::tempdir().unwrap();
        let levels = 3 * MAX_OPEN;
        let mut descent = down(root.path(), levels);
        assert_eq!(descent.levels.iter().filter(|level| level.open.is_some()).count(), MAX_OPEN);
        for level in (0..=levels).rev() {
            assert_eq!(*descent.own(), level);
            assert_eq!(descent.leave().unwrap().1, level);
        }
    }

    #[test]
    fn a_directory_that_was_moved_is_not_come_back_from() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut descent = down(root.path(), MAX_OPEN + 2);
        // The ones above the innermost are closed: the way back goes by `..`.
        fs::rename(root.path().join("d/d/d"), elsewhere.path().join("d")).unwrap();
        let error = (0..MAX_OPEN + 2).find_map(|_| descent.leave().err());
        assert!(matches!(error, Some(FileError::Moved)), "{error:?}");
    }
}
