//! Private directories that a process locks as long as it uses them. One that no process has locked was left by a
//! process that was killed.

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FlockOperation, Mode, OFlags, flock, fstat, openat};
use rustix::process::geteuid;

use crate::tempfile::make_private_directory;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Makes, opens and locks a directory with this prefix and a random end. The lock lasts as long as the descriptor.
///
/// # Errors
///
/// What [`make_private_directory`] and `flock` give.
pub fn make_locked_directory(parent: BorrowedFd<'_>, prefix: &str) -> io::Result<(String, OwnedFd)> {
    loop {
        let (name, directory) = make_private_directory(parent, prefix)?;
        flock(&directory, FlockOperation::LockExclusive)?;
        // Another process may have taken the new directory for an abandoned one.
        if fstat(&directory)?.st_nlink > 0 {
            return Ok((name, directory));
        }
    }
}

/// Calls `remove` with the name and the descriptor of each directory with this prefix that belongs to this user and has
/// no lock of a process. Other users cannot make directories of this user in a directory with the sticky bit.
///
/// # Errors
///
/// If the parent cannot be read.
pub fn remove_abandoned(
    parent: BorrowedFd<'_>,
    prefix: &str,
    mut remove: impl FnMut(&CStr, BorrowedFd<'_>),
) -> io::Result<()> {
    for entry in Dir::read_from(parent)? {
        let entry = entry?;
        if !entry.file_name().to_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        let Ok(directory) = openat(parent, entry.file_name(), DIRECTORY, Mode::empty()) else { continue };
        let is_own = fstat(&directory).is_ok_and(|stat| stat.st_uid == geteuid().as_raw());
        if is_own && flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(entry.file_name(), std::os::fd::AsFd::as_fd(&directory));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn only_directories_without_a_lock_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let parent = std::fs::File::open(dir.path()).unwrap();
        let make = || make_locked_directory(parent.as_fd(), "x-").unwrap();
        let ((used, _lock), (abandoned, lock)) = (make(), make());
        drop(lock);
        std::fs::create_dir(dir.path().join("other")).unwrap();
        let mut removed = Vec::new();
        remove_abandoned(parent.as_fd(), "x-", |name, _| removed.push(name.to_str().unwrap().to_owned())).unwrap();
        assert_eq!(removed, [abandoned]);
        assert!(used.starts_with("x-"));
    }
}
