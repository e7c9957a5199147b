//! Opening what can be read at any offset, a regular file or a block device, and nothing else: a FIFO would wait for a
//! writer, and opening some devices does something.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::proc_fd;

/// Why a file is not opened.
#[derive(Debug)]
pub enum OpenError {
    /// The kernel refused.
    Io(io::Error),
    /// It is neither a regular file nor a block device, but this.
    Kind(FileType),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io(error) => error.fmt(f),
            OpenError::Kind(kind) => write!(f, "it is {}, not a regular file or block device", kind_name(*kind)),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        OpenError::Io(errno.into())
    }
}

/// The name of a file type with its article.
#[must_use]
pub fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::BlockDevice => "a block device",
        FileType::Directory => "a directory",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::Symlink => "a symbolic link",
        _ => "of an unknown type",
    }
}

/// Opens `path` for reading if it is a regular file or a block device. Symbolic links are followed. Nothing else is
/// opened, not even for a moment, so this never waits for another process.
///
/// # Errors
///
/// [`OpenError::Kind`] for anything else, and what opening gives.
pub fn open(path: &Path) -> Result<File, OpenError> {
    let found = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    check_kind(&found)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    if let Some(link) = proc_fd::link(&found) {
        return Ok(rustix::fs::open(link, flags, Mode::empty())?.into());
    }
    // Without /proc the path is looked up again: it may be another file by now, which must not be waited for either.
    let file = rustix::fs::openat(CWD, path, flags | OFlags::NONBLOCK, Mode::empty())?;
    check_kind(&file)?;
    Ok(file.into())
}

fn check_kind(file: &OwnedFd) -> Result<(), OpenError> {
    match FileType::from_raw_mode(rustix::fs::fstat(file.as_fd())?.st_mode) {
        FileType::RegularFile | FileType::BlockDevice => Ok(()),
        other => Err(OpenError::Kind(other)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let refused = |path: &Path| match open(path) {
            Err(OpenError::Kind(kind)) => kind_name(kind),
            other => panic!("{}: {other:?}", path.display()),
        };
        std::fs::write(at("file"), "content").unwrap();
        symlink("file", at("link")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(io::read_to_string(open(&at(name)).unwrap()).unwrap(), "content");
        }
        rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        symlink("fifo", at("to-fifo")).unwrap();
        assert_eq!(refused(&at("fifo")), "a FIFO");
        assert_eq!(refused(&at("to-fifo")), "a FIFO");
        let _listener = UnixListener::bind(at("socket")).unwrap();
        assert_eq!(refused(&at("socket")), "a socket");
        assert_eq!(refused(dir.path()), "a directory");
        assert_eq!(refused(Path::new("/dev/zero")), "a character device");
        let missing = open(&at("missing")).unwrap_err();
        assert!(matches!(missing, OpenError::Io(error) if error.kind() == io::ErrorKind::NotFound));
    }
}
