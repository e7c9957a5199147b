//! Files that have no name until they are complete.
//!
//! With `O_TMPFILE`, where the file system supports it, a killed process leaves no file. Elsewhere (NFS, FUSE, old
//! overlayfs) the file is called `.tmp` and six letters or digits, which is removed on drop but remains after a kill.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fchmod, fremovexattr, fstat, linkat, mkdirat, openat, renameat, renameat_with,
    unlinkat,
};
use rustix::io::Errno;
use rustix::path::Arg;
use rustix::process::geteuid;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::proc_fd::has_proc;

/// The prefix of the names of named temporaries.
pub const PREFIX: &str = ".tmp";

/// The number of names that are tried.
const TRIES: usize = 64;

/// A file in the making.
#[derive(Debug)]
pub struct Temporary {
    file: OwnedFd,
    directory: Arc<OwnedFd>,
    /// Its name in `directory`, if it has one.
    name: Option<CString>,
}

impl Temporary {
    /// A new empty file on the file system of `directory`, open for reading and writing. Its mode is `mode` less the
    /// umask of the process.
    ///
    /// # Errors
    ///
    /// What `openat` gives, other than the numbers that say there is no `O_TMPFILE`.
    pub fn create(directory: &Arc<OwnedFd>, mode: u32) -> io::Result<Self> {
        // Without /proc a file without a name can neither be opened again nor, before Linux 6.10, be given a name by an
        // ordinary user.
        if !has_proc() {
            return Self::create_named(directory, mode);
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match openat(directory, c".", flags, Mode::from_raw_mode(mode)) {
            Ok(file) => Ok(Self { file, directory: Arc::clone(directory), name: None }),
            // EISDIR and ENOENT are the answers of kernels that take the flag for O_DIRECTORY, or drop it.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL | Errno::NOSYS) => {
                Self::create_named(directory, mode)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// The same with a name from the start, as where there is no `O_TMPFILE`.
    ///
    /// # Errors
    ///
    /// What `openat` gives.
    pub fn create_named(directory: &Arc<OwnedFd>, mode: u32) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let (file, name) = with_random_name(|name| openat(directory, name, flags, Mode::from_raw_mode(mode)))?;
        Ok(Self { file, directory: Arc::clone(directory), name: Some(name) })
    }

    /// Returns true if the file has a name that a killed process would leave.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// Closes the writable descriptor and continues with a read-only one, as fs-verity demands.
    ///
    /// # Errors
    ///
    /// What `openat` gives; for a file without a name also when /proc is not mounted.
    pub fn reopen_read_only(&mut self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        self.file = match &self.name {
            Some(name) => openat(&*self.directory, name, flags | OFlags::NOFOLLOW, Mode::empty())?,
            None => openat(rustix::fs::CWD, proc_path(self.file.as_fd()), flags, Mode::empty())?,
        };
        Ok(())
    }

    /// Gives the file a name in `directory`, which is on the same file system. `EEXIST` if the name is taken: then the
    /// file stays what it was.
    ///
    /// # Errors
    ///
    /// What `linkat` and `renameat2` give.
    pub fn link(&mut self, directory: BorrowedFd<'_>, name: impl Arg + Copy) -> io::Result<()> {
        let Some(old) = &self.name else {
            return Ok(link_unnamed(self.file.as_fd(), directory, name)?);
        };
        match renameat_with(&*self.directory, old, directory, name, RenameFlags::NOREPLACE) {
            Ok(()) => self.name = None,
            // No such flag there (NFS for one): link, and let the drop remove the temporary name.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                linkat(&*self.directory, old, directory, name, AtFlags::empty())?;
            }
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    /// Gives the file a name in `directory`, in place of whatever had it; a directory there is `EISDIR`. There is no
    /// moment at which the name is missing.
    ///
    /// # Errors
    ///
    /// What `linkat` and `renameat` give.
    pub fn replace(mut self, directory: BorrowedFd<'_>, name: impl Arg) -> io::Result<()> {
        if self.name.is_none() {
            let file = self.file.as_fd();
            let ((), temporary) = with_random_name(|name| link_unnamed(file, self.directory.as_fd(), name))?;
            self.name = Some(temporary);
        }
        let old = self.name.as_ref().expect("the file has a name by now");
        renameat(&*self.directory, old, directory, name)?;
        self.name = None;
        Ok(())
    }
}

impl AsFd for Temporary {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // The error cannot be reported, and the name identifies the file.
            let _ = unlinkat(&*self.directory, name, AtFlags::empty());
        }
    }
}

/// Makes and opens a directory with a random name that only the process's user can use, regardless of the mode, default
/// ACL or group of its parent.
///
/// # Errors
///
/// What `mkdirat` and `openat` give; `EEXIST` if another process put something else in its place.
pub fn make_private_directory(directory: BorrowedFd<'_>, prefix: &str) -> io::Result<(String, OwnedFd)> {
    let with_prefix = |name: &std::ffi::CStr| format!("{prefix}{}", &name.to_string_lossy()[PREFIX.len()..]);
    let ((), name) = with_random_name(|name| mkdirat(directory, with_prefix(name), Mode::RWXU))?;
    let name = with_prefix(&name);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(directory, &name, flags, Mode::empty())?;
    let stat = fstat(&made)?;
    // No other user can make such a directory.
    if stat.st_uid != geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
        return Err(Errno::EXIST.into());
    }
    for inherited in [c"system.posix_acl_default", c"system.posix_acl_access"] {
        // In nearly all cases there is no such attribute.
        let _ = fremovexattr(&made, inherited);
    }
    fchmod(&made, Mode::RWXU)?;
    Ok((name, made))
}

fn proc_path(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Links a file that has no name. By its descriptor alone this takes a privilege before Linux 6.10, by /proc it does
/// not.
fn link_unnamed(file: BorrowedFd<'_>, directory: BorrowedFd<'_>, name: impl Arg + Copy) -> rustix::io::Result<()> {
    match linkat(file, c"", directory, name, AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
            linkat(rustix::fs::CWD, proc_path(file), directory, name, AtFlags::SYMLINK_FOLLOW)
        }
        result => result,
    }
}

/// Creates something under a random name that is not taken, and returns the name.
fn with_random_name<T>(
    mut make: impl FnMut(&std::ffi::CStr) -> rustix::io::Result<T>,
) -> rustix::io::Result<(T, CString)> {
    for _ in 0..TRIES {
        let name = random_name()?;
        match make(&name) {
            Err(Errno::EXIST) => {}
            result => return result.map(|made| (made, name)),
        }
    }
    Err(Errno::EXIST)
}

fn random_name() -> rustix::io::Result<CString> {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    let mut random = [0; 6];
    getrandom(&mut random, GetRandomFlags::empty())?;
    let mut name = PREFIX.as_bytes().to_vec();
    name.extend(random.map(|byte| LETTERS[usize::from(byte % 64)]));
    Ok(CString::new(name).expect("no NUL among the letters"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn scratch() -> (tempfile::TempDir, Arc<OwnedFd>) {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        (dir, Arc::new(fd.into()))
    }

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    type Create = fn(&Arc<OwnedFd>, u32) -> io::Result<Temporary>;
    const BOTH: [Create; 2] = [Temporary::create, Temporary::create_named];

    #[test]
    fn a_dropped_temporary_leaves_nothing() {
        for create in BOTH {
            let (dir, fd) = scratch();
            let temporary = create(&fd, 0o600).unwrap();
            assert_eq!(names(&dir).len(), usize::from(temporary.is_named()));
            assert!(names(&dir).iter().all(|n| n.starts_with(PREFIX) && n.len() == 10));
            drop(temporary);
            assert_eq!(names(&dir), [""; 0]);
        }
    }

    #[test]
    fn link_refuses_a_taken_name_and_replace_takes_it() {
        for create in BOTH {
            let (dir, fd) = scratch();
            std::fs::write(dir.path().join("taken"), "old").unwrap();
            let mut temporary = create(&fd, 0o600).unwrap();
            rustix::io::write(&temporary, b"new").unwrap();
            temporary.reopen_read_only().unwrap();
            assert_eq!(rustix::io::write(&temporary, b"x"), Err(Errno::BADF));
            let error = temporary.link(fd.as_fd(), "taken").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            temporary.replace(fd.as_fd(), "taken").unwrap();
            assert_eq!(names(&dir), ["taken"]);
            assert_eq!(std::fs::read(dir.path().join("taken")).unwrap(), b"new");

            let mut temporary = create(&fd, 0o600).unwrap();
            temporary.link(fd.as_fd(), "fresh").unwrap();
            drop(temporary);
            assert_eq!(names(&dir), ["fresh", "taken"]);
            assert_eq!(dir.path().join("fresh").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_directory_is_not_replaced() {
        for create in BOTH {
            let (dir, fd) = scratch();
            std::fs::create_dir(dir.path().join("d")).unwrap();
            let error = create(&fd, 0o600).unwrap().replace(fd.as_fd(), "d").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::ISDIR.raw_os_error()));
            assert_eq!(names(&dir), ["d"]);
        }
    }
}
