//! A mount that is attached nowhere yet.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use libcomposefs_sys::mount::MountFd;
use rustix::fs::{Mode, OFlags};

use crate::error::Error;
use crate::method::Mounted;

/// A mounted image that is attached nowhere, owned by a descriptor.
///
/// The descriptor is that of `fsmount` or `open_tree`: the directory tree can be used through it (`openat`), passed to
/// another process, or attached with `move_mount`. Closing it before the mount is attached unmounts it. Once it is
/// attached, an open descriptor keeps it busy, as any open file in it does.
#[derive(Debug)]
pub struct DetachedMount {
    mount: MountFd,
    image: PathBuf,
    report: Mounted,
}

impl DetachedMount {
    pub(crate) fn new(mount: MountFd, image: &Path, report: Mounted) -> Self {
        Self { mount, image: image.to_owned(), report }
    }

    pub(crate) fn mount_fd(&self) -> &MountFd {
        &self.mount
    }

    /// Returns how it was mounted.
    #[must_use]
    pub fn report(&self) -> &Mounted {
        &self.report
    }

    /// Attaches the mount at the directory `at`.
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] if it cannot be opened, [`Error::Kernel`] if the kernel refuses.
    pub fn attach(&self, at: &Path) -> Result<(), Error> {
        let fd = open_target(&self.image, at)?;
        self.attach_to(fd.as_fd(), at)
    }

    /// Attaches the mount at the open directory `at` (`O_PATH` is enough); `name` is its path for messages.
    ///
    /// # Errors
    ///
    /// [`Error::Kernel`] if the kernel refuses.
    pub fn attach_to(&self, at: BorrowedFd<'_>, name: &Path) -> Result<(), Error> {
        self.mount.attach_to(at, name).map_err(|source| Error::Kernel {
            image: self.image.clone(),
            source,
            kernel_log: Vec::new(),
        })
    }
}

impl AsFd for DetachedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }
}

impl From<DetachedMount> for OwnedFd {
    fn from(mount: DetachedMount) -> Self {
        mount.mount.into()
    }
}

/// Opens a mount point.
pub(crate) fn open_target(image: &Path, target: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(target, flags, Mode::empty()).map_err(|errno| Error::Directory {
        image: image.to_owned(),
        role: "mount point",
        dir: target.to_owned(),
        source: errno.into(),
    })
}
