//! A file or directory that a mount option names: by its path, or as an open descriptor.

use std::borrow::Cow;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

/// A directory of a mount, or the file of a user namespace: a path, or a descriptor that is already open.
///
/// A path is opened when the plan is mounted. A descriptor (`O_PATH` is enough for a directory) needs no path in this
/// mount namespace, so a caller can pass a directory of another one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PathOrFd {
    /// The path, looked up at mount.
    Path(PathBuf),
    /// The open descriptor, shared by clones of the options.
    Fd(Arc<OwnedFd>),
}

impl PathOrFd {
    /// Returns the path, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            PathOrFd::Path(path) => Some(path),
            PathOrFd::Fd(_) => None,
        }
    }

    /// Returns the path, or `fd N` for a descriptor, for messages.
    #[must_use]
    pub fn name(&self) -> Cow<'_, Path> {
        match self {
            PathOrFd::Path(path) => Cow::Borrowed(path),
            PathOrFd::Fd(fd) => Cow::Owned(format!("fd {}", fd.as_raw_fd()).into()),
        }
    }

    /// Opens the path, or opens the directory or file of the descriptor again where its access mode allows it.
    pub(crate) fn open(&self, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        match self {
            PathOrFd::Path(path) => rustix::fs::open(path, flags, Mode::empty()),
            PathOrFd::Fd(fd) if flags.contains(OFlags::DIRECTORY) => rustix::fs::openat(fd, c".", flags, Mode::empty()),
            PathOrFd::Fd(fd) => rustix::io::fcntl_dupfd_cloexec(fd, 0),
        }
    }
}

/// Descriptors are equal if they are clones of one descriptor.
impl PartialEq for PathOrFd {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (PathOrFd::Path(path), PathOrFd::Path(other)) => path == other,
            (PathOrFd::Fd(fd), PathOrFd::Fd(other)) => Arc::ptr_eq(fd, other),
            _ => false,
        }
    }
}

impl Eq for PathOrFd {}

impl From<PathBuf> for PathOrFd {
    fn from(path: PathBuf) -> Self {
        PathOrFd::Path(path)
    }
}

impl From<&Path> for PathOrFd {
    fn from(path: &Path) -> Self {
        PathOrFd::Path(path.to_owned())
    }
}

impl From<&str> for PathOrFd {
    fn from(path: &str) -> Self {
        PathOrFd::Path(path.into())
    }
}

impl From<OwnedFd> for PathOrFd {
    fn from(fd: OwnedFd) -> Self {
        PathOrFd::Fd(Arc::new(fd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_leads_to_its_directory() {
        let open = || rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let dir = PathOrFd::from(open());
        assert_eq!(dir, dir.clone());
        assert_ne!(dir, PathOrFd::from(open()));
        assert_ne!(dir, PathOrFd::from("/proc"));
        assert!(dir.path().is_none() && dir.name().to_string_lossy().starts_with("fd "));
        let opened = dir.open(OFlags::RDONLY | OFlags::DIRECTORY).unwrap();
        let [found, expected] = [rustix::fs::fstat(&opened), rustix::fs::stat("/proc")].map(Result::unwrap);
        assert_eq!((found.st_dev, found.st_ino), (expected.st_dev, expected.st_ino));
    }
}
