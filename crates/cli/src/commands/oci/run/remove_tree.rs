//! Removes a directory tree of any depth with constant memory and few descriptors.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::{Errno, Result};
use rustix::path::Arg;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes the directory `name` in `parent`, which is open as `top`. Directories in it that are not empty are moved to
/// its top before their entries are removed, so that the depth of the tree does not matter.
pub(super) fn remove_tree(parent: BorrowedFd<'_>, name: impl Arg + Copy, top: BorrowedFd<'_>) -> Result<()> {
    let mut number = 0;
    loop {
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            removed => return removed,
        }
        for entry in Dir::read_from(top)? {
            let entry = entry?;
            if is_dot(entry.file_name()) || remove_one(top, entry.file_name())? {
                continue;
            }
            let below = openat(top, entry.file_name(), DIRECTORY, Mode::empty())?;
            remove_entries(top, below.as_fd(), &mut number)?;
        }
    }
}

/// Removes the entries of `directory`, or moves them to `top`.
fn remove_entries(top: BorrowedFd<'_>, directory: BorrowedFd<'_>, number: &mut u64) -> Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if is_dot(entry.file_name()) || remove_one(directory, entry.file_name())? {
            continue;
        }
        loop {
            *number += 1;
            let name = format!("{number}");
            match renameat_with(directory, entry.file_name(), top, name, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                moved => break moved?,
            }
        }
    }
    Ok(())
}

/// Removes a file or an empty directory; returns false for a directory that is not empty.
fn remove_one(directory: BorrowedFd<'_>, name: &CStr) -> Result<bool> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        // POSIX has EPERM for a directory.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    match unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        // An immutable file is no directory.
        Err(Errno::NOTDIR) => Err(Errno::PERM),
        Err(errno) => Err(errno),
    }
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    #[test]
    fn a_deep_and_wide_tree_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        fs::write(dir.path().join("outside"), "x").unwrap();
        symlink(dir.path(), top.join("link")).unwrap();
        for name in ["1", "2", "3"] {
            fs::create_dir_all(top.join(name).join("a/b/c")).unwrap();
            fs::write(top.join(name).join("a/file"), "x").unwrap();
        }
        // Deeper than a path can name.
        let mut at = rustix::fs::open(&top, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&at, "deeper", Mode::RWXU).unwrap();
            at = openat(&at, "deeper", DIRECTORY, Mode::empty()).unwrap();
        }
        drop(at);
        let (parent, open) = (File::open(dir.path()).unwrap(), File::open(&top).unwrap());
        remove_tree(parent.as_fd(), "top", open.as_fd()).unwrap();
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["outside"]);
    }
}
