//! The directories from the target down to the current one, as file descriptors.
//!
//! A tree may be deeper than the limit of open files. So only the innermost directories are open. An outer one is
//! opened again as `..` of the directory below when the walk returns to it, and must still be the same inode.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use libcomposefs_sys::limits::open_files_max;
use rustix::fs::{Mode, fstat, openat};

use super::error::FileError;
use super::staging::OPEN_DIRECTORY;

/// Upper bound of innermost directories that are open; lower if the limit of open files is low.
const MAX_OPEN: usize = 64;

/// Device and inode number of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DirKey(u64, u64);

impl DirKey {
    // The types of the fields differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    pub(super) fn of(directory: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        let stat = fstat(directory)?;
        Ok(Self(stat.st_dev as u64, stat.st_ino as u64))
    }
}

/// The directories from the target to the innermost one, each with a value of the caller.
#[derive(Debug)]
pub(super) struct DirStack<T> {
    levels: Vec<StackLevel<T>>,
    max_open: usize,
}

#[derive(Debug)]
struct StackLevel<T> {
    key: DirKey,
    /// Open if it is one of the innermost directories.
    open: Option<Arc<OwnedFd>>,
    own: T,
}

impl<T> DirStack<T> {
    /// Starts in the target directory.
    pub(super) fn new(target: BorrowedFd<'_>, own: T) -> Result<Self, FileError> {
        let target = target.try_clone_to_owned().map_err(FileError::io("open"))?;
        let mut descent = Self { levels: Vec::new(), max_open: (open_files_max() / 8).clamp(2, MAX_OPEN) };
        descent.enter(target, own)?;
        Ok(descent)
    }

    /// Returns the innermost directory.
    pub(super) fn directory(&self) -> &Arc<OwnedFd> {
        let open = self.levels.last().and_then(|level| level.open.as_ref());
        open.expect("the innermost directory is open until the target is left")
    }

    /// Returns the caller's value of the innermost directory.
    pub(super) fn own(&mut self) -> &mut T {
        &mut self.levels.last_mut().expect("nothing is asked for when the target was left").own
    }

    /// Enters a directory inside the innermost one.
    pub(super) fn enter(&mut self, directory: OwnedFd, own: T) -> Result<DirKey, FileError> {
        let key = DirKey::of(directory.as_fd()).map_err(FileError::io("stat"))?;
        self.levels.push(StackLevel { key, open: Some(Arc::new(directory)), own });
        if let Some(outer) = self.levels.len().checked_sub(self.max_open + 1) {
            self.levels[outer].open = None;
        }
        Ok(key)
    }

    /// Returns to the directory above. Returns the directory that is left, still open, and its value. Fails if the
    /// directory was moved: then the directories above cannot be reached any more.
    pub(super) fn leave(&mut self) -> Result<(Arc<OwnedFd>, T), FileError> {
        let inner = Arc::clone(self.directory());
        let outer = self.levels.len().checked_sub(2).map(|index| &mut self.levels[index]);
        if let Some(outer) = outer.filter(|outer| outer.open.is_none()) {
            let above =
                openat(&inner, c"..", OPEN_DIRECTORY, Mode::empty()).map_err(FileError::io("open the parent of"))?;
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

    /// A stack with `levels` directories below `root`.
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
    fn only_the_innermost_are_open_and_all_can_be_returned_to() {
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
    fn leaving_a_moved_directory_fails() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut descent = down(root.path(), MAX_OPEN + 2);
        // The directories above the innermost ones are closed, so the way back uses `..`.
        fs::rename(root.path().join("d/d/d"), elsewhere.path().join("d")).unwrap();
        let error = (0..MAX_OPEN + 2).find_map(|_| descent.leave().err());
        assert!(matches!(error, Some(FileError::Moved)), "{error:?}");
    }
}
