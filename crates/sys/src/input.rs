//! Opens a file that a user named for reading, without blocking.
//!
//! Opening a FIFO blocks until there is a writer, a device may have no end, and a terminal may become the controlling
//! one. None of them has an end that a reader can rely on.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::Errno;

use crate::fs_magic::FsMagic;
use crate::proc_fd;

/// Reasons why a file is not opened.
#[derive(Debug)]
pub enum OpenError {
    /// The kernel refused it.
    Io(io::Error),
    /// It is something else than a regular file, a block device or a pipe.
    NotAFile(FileType),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::NotAFile(kind) => write!(f, "it is {}, and not a regular file", kind_name(*kind)),
        }
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

impl std::error::Error for OpenError {}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        OpenError::Io(errno.into())
    }
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(error) => error,
            not_a_file => io::Error::new(io::ErrorKind::InvalidInput, not_a_file),
        }
    }
}

/// Opens a regular file or a block device, which can be read at any offset. Symbolic links are followed. Nothing else
/// is opened, not even for a moment.
///
/// # Errors
///
/// [`OpenError`]
pub fn open_seekable(path: &Path) -> Result<File, OpenError> {
    open_if(path, |kind, _| Ok(matches!(kind, FileType::RegularFile | FileType::BlockDevice))).map(|(file, _)| file)
}

/// Opens a regular file, a block device, or a pipe that this process already has (`/dev/stdin`, `/dev/fd/N`) for
/// reading, at its beginning. It never waits; reading from a pipe does.
///
/// # Errors
///
/// [`OpenError`]
pub fn open(path: &Path) -> Result<File, OpenError> {
    let is_readable = |kind, found: &OwnedFd| Ok(kind != FileType::Directory && is_readable(path, kind, found)?);
    open_if(path, is_readable).map(|(file, _)| file)
}

/// The same, or a directory. Says what it is.
///
/// # Errors
///
/// [`OpenError`]
pub fn open_any(path: &Path) -> Result<(File, FileType), OpenError> {
    open_if(path, |kind, found| is_readable(path, kind, found))
}

fn is_readable(path: &Path, kind: FileType, found: &OwnedFd) -> Result<bool, Errno> {
    Ok(match kind {
        FileType::RegularFile | FileType::BlockDevice | FileType::Directory => true,
        FileType::Fifo => is_descriptor(path) || is_pipe(found.as_fd())?,
        _ => false,
    })
}

/// Finds the file first, which opens nothing, and opens the very one that was found.
fn open_if(
    path: &Path,
    wanted: impl Fn(FileType, &OwnedFd) -> Result<bool, Errno>,
) -> Result<(File, FileType), OpenError> {
    let judge = |found: &OwnedFd| {
        let kind = FileType::from_raw_mode(fstat(found)?.st_mode);
        if wanted(kind, found)? { Ok(kind) } else { Err(OpenError::NotAFile(kind)) }
    };
    let found = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let kind = judge(&found)?;
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    let link = proc_fd::link(&found);
    if let Some(link) = link.as_ref().filter(|_| kind != FileType::Fifo) {
        return Ok((rustix::fs::open(link, flags, Mode::empty())?.into(), kind));
    }
    // A FIFO that this process has as a descriptor is opened without waiting for another writer. Without /proc the path
    // is looked up again: it may lead to another file by then, for which the open must not block either.
    let file = rustix::fs::open(link.as_deref().unwrap_or(path), flags | OFlags::NONBLOCK, Mode::empty())?;
    let kind = judge(&file)?;
    // The flag is this descriptor's own.
    let flags = fcntl_getfl(&file)?;
    fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok((file.into(), kind))
}

/// Returns true if a path names a descriptor of this process, which was opened before.
fn is_descriptor(path: &Path) -> bool {
    path == Path::new("/dev/stdin") || path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd")
}

fn is_pipe(fd: std::os::fd::BorrowedFd<'_>) -> Result<bool, Errno> {
    FsMagic::of(fd).map(|magic| magic == FsMagic::PIPEFS)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn refused(path: &Path) -> FileType {
        match open(path) {
            Err(OpenError::NotAFile(kind)) => kind,
            other => panic!("{}: {other:?}", path.display()),
        }
    }

    #[test]
    fn what_has_no_end_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink("fifo", dir.path().join("link")).unwrap();
        assert_eq!(refused(&fifo), FileType::Fifo);
        assert_eq!(refused(&dir.path().join("link")), FileType::Fifo);
        assert_eq!(refused(&socket), FileType::Socket);
        assert_eq!(refused(dir.path()), FileType::Directory);
        assert_eq!(refused(Path::new("/dev/zero")), FileType::CharacterDevice);
        let kind_of = |path: &Path| match open_seekable(path) {
            Err(OpenError::NotAFile(kind)) => kind_name(kind),
            other => panic!("{}: {other:?}", path.display()),
        };
        assert_eq!(kind_of(dir.path()), "a directory");
        assert_eq!(kind_of(&fifo), "a FIFO");
        let message = OpenError::NotAFile(FileType::Fifo).to_string();
        assert_eq!(message, "it is a FIFO, and not a regular file");
        assert!(matches!(open(&dir.path().join("none")), Err(OpenError::Io(_))));
    }

    #[test]
    fn files_and_pipes_of_this_process_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "content").unwrap();
        let mut text = String::new();
        open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
        assert_eq!(std::io::read_to_string(open_seekable(&path).unwrap()).unwrap(), "content");
        assert_eq!(open_any(dir.path()).unwrap().1, FileType::Directory);
        // The reader waits for a writer that is slow.
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut file = open(Path::new(&format!("/proc/self/fd/{}", reader.as_raw_fd()))).unwrap();
        let flags = fcntl_getfl(&file).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK));
        let slow = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            writer.write_all(b"slow").unwrap();
        });
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        slow.join().unwrap();
        assert_eq!(text, "slow");
    }
}
