//! Opens a file or a directory by an untrusted path: below a directory, and without following symlinks.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, Result};

use crate::file_lease::open_leased;

/// The name may be of any kind of file: opening a FIFO must not block, and a terminal must not become the controlling
/// one.
const OPEN_FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

const OPEN_STEP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a file for reading by a path below a directory, by the rules that overlayfs has for the files of its data
/// layers (`ovl_lookup_data_layer` in `fs/overlayfs/namei.c`): no symlink, no other mount, nothing above the directory.
///
/// # Errors
///
/// `EXDEV` for a path that leads out, `ELOOP` for a symlink, and what `openat` gives.
pub fn open_beneath(directory: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    open_leased(|| open_file_beneath(directory, path))
}

fn open_file_beneath(directory: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let mut tries = 8;
    loop {
        tries -= 1;
        match openat2(directory, path, OPEN_FILE, Mode::empty(), resolve) {
            // A rename somewhere while `..` was resolved.
            Err(Errno::AGAIN) if tries > 0 => {}
            // Linux before 5.6; EPERM: a seccomp filter that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => return open_by_steps(directory, path),
            result => return result,
        }
    }
}

/// Opens a directory by a path below another: no symlink, nothing above. Other mounts count as part of it.
///
/// # Errors
///
/// `ELOOP` for a symlink, `EXDEV` for a path that leads out, `ENOTDIR`, and what `openat` gives.
pub fn open_directory_beneath(directory: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut tries = 8;
    loop {
        tries -= 1;
        match openat2(directory, path, OPEN_DIRECTORY, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries > 0 => {}
            Err(Errno::NOSYS | Errno::PERM) => return open_directory_by_steps(directory, path),
            result => return result,
        }
    }
}

fn open_directory_by_steps(directory: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    if path.first() == Some(&b'/') {
        return Err(Errno::XDEV);
    }
    let mut at = openat(directory, ".", OPEN_DIRECTORY, Mode::empty())?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        at = match openat(&at, step(name)?, OPEN_DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::NOTDIR) if is_symlink(at.as_fd(), name) => return Err(Errno::LOOP),
            result => result?,
        };
    }
    Ok(at)
}

/// The same, name by name; `..` leads out always, and other mounts count as part of the directory.
fn open_by_steps(directory: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    if path.first() == Some(&b'/') {
        return Err(Errno::XDEV);
    }
    let (above, last) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    };
    let mut at: Option<OwnedFd> = None;
    for name in above.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        let from = at.as_ref().map_or(directory, AsFd::as_fd);
        // O_DIRECTORY would hide that it is a symlink.
        at = Some(match openat(from, step(name)?, OPEN_STEP, Mode::empty()) {
            Err(Errno::NOTDIR) if is_symlink(from, name) => return Err(Errno::LOOP),
            result => result?,
        });
    }
    openat(at.as_ref().map_or(directory, AsFd::as_fd), step(last)?, OPEN_FILE, Mode::empty())
}

fn step(name: &[u8]) -> Result<&OsStr> {
    match name {
        b".." => Err(Errno::XDEV),
        b"" => Err(Errno::NOENT),
        name => Ok(OsStr::from_bytes(name)),
    }
}

fn is_symlink(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    let stat = rustix::fs::statat(directory, OsStr::from_bytes(name), rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Symlink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn both_ways_stay_below_and_follow_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        fs::create_dir_all(base.join("aa/deep")).unwrap();
        fs::write(base.join("aa/deep/file"), "x").unwrap();
        fs::write(base.join("top"), "x").unwrap();
        fs::write(dir.path().join("outside"), "x").unwrap();
        symlink("deep", base.join("aa/link")).unwrap();
        symlink("../../outside", base.join("aa/out")).unwrap();
        let fd = fs::File::open(&base).unwrap();
        for open in [open_beneath, open_by_steps] {
            let open = |path: &str| open(fd.as_fd(), path.as_bytes()).map(drop);
            for path in ["top", "aa/deep/file", "aa//deep/file"] {
                assert_eq!(open(path), Ok(()), "{path}");
            }
            for path in ["../outside", "/etc/passwd", "aa/../../outside", ".."] {
                assert_eq!(open(path), Err(Errno::XDEV), "{path}");
            }
            for path in ["aa/link/file", "aa/out"] {
                assert_eq!(open(path), Err(Errno::LOOP), "{path}");
            }
            for path in ["", "none", "aa/none", "none/file"] {
                assert_eq!(open(path), Err(Errno::NOENT), "{path}");
            }
            assert_eq!(open("top/file"), Err(Errno::NOTDIR));
        }
    }

    #[test]
    fn directories_are_opened_by_the_same_rules() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("base/aa/deep")).unwrap();
        fs::write(dir.path().join("base/file"), "x").unwrap();
        symlink("aa", dir.path().join("base/link")).unwrap();
        let fd = fs::File::open(dir.path().join("base")).unwrap();
        for open in [open_directory_beneath, open_directory_by_steps] {
            let open = |path: &str| open(fd.as_fd(), path.as_bytes()).map(drop);
            assert_eq!([open("aa"), open("aa/deep"), open("aa//deep/")], [Ok(()); 3]);
            assert_eq!([open("link"), open("link/deep")], [Err(Errno::LOOP); 2]);
            assert_eq!([open(".."), open("/etc"), open("aa/../..")], [Err(Errno::XDEV); 3]);
            assert_eq!([open("file"), open("none")], [Err(Errno::NOTDIR), Err(Errno::NOENT)]);
        }
    }

    #[test]
    fn a_fifo_does_not_make_us_wait() {
        let dir = tempfile::tempdir().unwrap();
        let fd = fs::File::open(dir.path()).unwrap();
        rustix::fs::mknodat(&fd, "fifo", rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        for open in [open_beneath, open_by_steps] {
            assert!(open(fd.as_fd(), b"fifo").is_ok());
        }
    }
}
