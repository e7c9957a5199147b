//! Opening a file that a user named for reading, without waiting for what may be under the name.
//!
//! Opening a FIFO waits for a writer, a device may have no end, and a terminal may become the controlling one. None of them has
//! an end that a reader can rely on.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, fstatfs};
use rustix::io::Errno;

/// What pipes have as file system (`PIPEFS_MAGIC`): a FIFO with a name is on the one it is in.
const PIPEFS_MAGIC: u32 = 0x5049_5045;

/// Why a file is not read.
#[derive(Debug)]
pub enum OpenError {
    /// The kernel refused it.
    Io(io::Error),
    /// It is something else than a regular file, a block device or a pipe.
    NotAFile(FileType),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Io(error) => return error.fmt(f),
            Self::NotAFile(FileType::Directory) => "a directory",
            Self::NotAFile(FileType::Fifo) => "a FIFO",
            Self::NotAFile(FileType::Socket) => "a socket",
            Self::NotAFile(FileType::CharacterDevice) => "a character device",
            Self::NotAFile(_) => "of an unknown type",
        };
        write!(f, "it is {kind}, and not a regular file")
    }
}

impl std::error::Error for OpenError {}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(error) => error,
            not_a_file => io::Error::new(io::ErrorKind::InvalidInput, not_a_file),
        }
    }
}

/// Opens a regular file, a block device, or a pipe that this process already has (`/dev/stdin`, `/dev/fd/N`) for reading, at
/// its beginning. It never waits; reading from a pipe does.
///
/// # Errors
///
/// [`OpenError`]
pub fn open(path: &Path) -> Result<File, OpenError> {
    match open_any(path)? {
        (_, FileType::Directory) => Err(OpenError::NotAFile(FileType::Directory)),
        (file, _) => Ok(file),
    }
}

/// The same, or a directory. Says what it is.
///
/// # Errors
///
/// [`OpenError`]
pub fn open_any(path: &Path) -> Result<(File, FileType), OpenError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| {
        // A socket cannot be opened, which the kernel calls "No such device or address".
        let is_socket = || std::fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
        match errno {
            Errno::NXIO if is_socket() => OpenError::NotAFile(FileType::Socket),
            errno => OpenError::Io(errno.into()),
        }
    })?;
    let failed = |errno: Errno| OpenError::Io(errno.into());
    let kind = FileType::from_raw_mode(fstat(&fd).map_err(failed)?.st_mode);
    let is_readable = match kind {
        FileType::RegularFile | FileType::BlockDevice | FileType::Directory => true,
        FileType::Fifo => is_descriptor(path) || is_pipe(fd.as_fd()).map_err(failed)?,
        _ => false,
    };
    if !is_readable {
        return Err(OpenError::NotAFile(kind));
    }
    // The flag is this descriptor's own: the kernel opened the file anew, also by /dev/fd.
    let flags = fcntl_getfl(&fd).map_err(failed)?;
    fcntl_setfl(&fd, flags - OFlags::NONBLOCK).map_err(failed)?;
    Ok((fd.into(), kind))
}

/// Whether a path names a descriptor of this process: what is there was opened before.
fn is_descriptor(path: &Path) -> bool {
    path == Path::new("/dev/stdin") || path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd")
}

fn is_pipe(fd: std::os::fd::BorrowedFd<'_>) -> Result<bool, Errno> {
    // The type of the number depends on the architecture.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "magic numbers have 32 bits")]
    fstatfs(fd).map(|fs| fs.f_type as u32 == PIPEFS_MAGIC)
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
