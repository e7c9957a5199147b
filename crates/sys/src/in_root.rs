//! Opens files and makes directories in a directory that counts as the root of all paths and symlinks, as in a chroot.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::{Errno, Result};

/// The name may be of any kind of file: opening a FIFO must not block, and a terminal must not become the controlling
/// one.
const OPEN_FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const OPEN_DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a file for reading. Symlinks are followed within `root`, as a process with that root would follow them.
///
/// # Errors
///
/// What `openat2` gives: `ENOSYS` before Linux 5.6, `ENOENT`, `ELOOP` for a circle of symlinks.
pub fn open_in_root(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    open(root, path, OPEN_FILE)
}

/// Opens a directory (`O_PATH`). Symlinks are followed within `root`, as a process with that root would follow them.
///
/// # Errors
///
/// As [`open_in_root`], and `ENOTDIR` for anything else.
pub fn open_directory_in_root(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    open(root, path, OPEN_DIRECTORY)
}

/// Makes a directory and the missing ones above it, with the mode 0755, and returns its descriptor (`O_PATH`). An
/// existing directory stays as it is.
///
/// # Errors
///
/// `ENOTDIR` if a component is no directory, `EINVAL` for `..` or a dangling symlink, and what `openat2` and `mkdirat`
/// give.
pub fn make_directories_in_root(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let mut at = open(root, b".", OPEN_DIRECTORY)?;
    let mut end = 0;
    for component in path.split(|byte| *byte == b'/') {
        let start = end;
        end = start + component.len() + 1;
        match component {
            b"" | b"." => continue,
            b".." => return Err(Errno::INVAL),
            _ => {}
        }
        // From the root each time: a symlink may lead to another place in it.
        let prefix = path.get(..start + component.len()).unwrap_or(path);
        at = match open(root, prefix, OPEN_DIRECTORY) {
            Err(Errno::NOENT) => {
                match mkdirat(&at, component, Mode::from_raw_mode(0o755)) {
                    // A symlink to nothing, or made at the same time.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
                open(root, prefix, OPEN_DIRECTORY)
                    .map_err(|errno| if errno == Errno::NOENT { Errno::INVAL } else { errno })?
            }
            opened => opened?,
        };
    }
    Ok(at)
}

fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 8;
    loop {
        tries -= 1;
        match openat2(root.as_fd(), path, flags, Mode::empty(), resolve) {
            // A rename somewhere while `..` was resolved.
            Err(Errno::AGAIN) if tries > 0 => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    #[test]
    fn symlinks_are_followed_within_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("usr/etc")).unwrap();
        fs::write(root.join("usr/etc/passwd"), "inside").unwrap();
        fs::write(dir.path().join("passwd"), "outside").unwrap();
        symlink("/usr/etc", root.join("etc")).unwrap();
        symlink("../../../passwd", root.join("usr/etc/out")).unwrap();
        symlink("../../../usr/etc/passwd", root.join("usr/etc/in")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        let fd = fs::File::open(&root).unwrap();
        let read = |path: &str| {
            let mut text = String::new();
            fs::File::from(open_in_root(fd.as_fd(), path.as_bytes())?).read_to_string(&mut text).unwrap();
            Ok(text)
        };
        assert_eq!(read("/etc/passwd"), Ok("inside".to_owned()));
        assert_eq!(read("etc/in"), Ok("inside".to_owned()));
        assert_eq!(read("etc/out"), Err(Errno::NOENT));
        assert_eq!(read("../passwd"), Err(Errno::NOENT));
        assert_eq!(read("circle"), Err(Errno::LOOP));
    }

    #[test]
    fn directories_are_made_within_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("var")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        symlink("/var", root.join("link")).unwrap();
        symlink("/nothing", root.join("dangling")).unwrap();
        let fd = fs::File::open(&root).unwrap();
        let make = |path: &str| make_directories_in_root(fd.as_fd(), path.as_bytes()).map(drop);
        assert_eq!([make("/data/a/b"), make("//link/./x/"), make("/data"), make("/")], [Ok(()); 4]);
        assert!(root.join("data/a/b").is_dir() && root.join("var/x").is_dir());
        assert_eq!([make("/file"), make("/file/x")], [Err(Errno::NOTDIR); 2]);
        assert_eq!([make("/dangling"), make("/dangling/x"), make("/../x")], [Err(Errno::INVAL); 3]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
