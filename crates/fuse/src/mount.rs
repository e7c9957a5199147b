//! Mounting by FUSE: as root by the device, as another user by `fusermount3`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use libcomposefs_sys::fuse::{self, FuseMountOptions, MountAttributes};
use rustix::io::Errno;

use crate::error::FuseError;

/// What is mounted where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountRequest {
    /// The mount point.
    pub target: PathBuf,
    /// Source of the mount, as the list of mounts shows it.
    pub source: String,
    /// Set if users other than the one who mounts may use the mount, root among them.
    pub allow_other: bool,
    /// Attributes of the mount.
    pub attributes: MountAttributes,
}

/// The way in which a file system was mounted, and is unmounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountedBy {
    /// By the process itself.
    Kernel,
    /// By `fusermount3`.
    Program,
}

/// A mounted file system without a session. The mount stays when this is dropped, but without a server all of its
/// files fail.
#[derive(Debug)]
pub struct FuseMount {
    device: OwnedFd,
    mounted_by: MountedBy,
}

impl MountRequest {
    /// Mounts at `target`, with `nosuid` and `nodev`.
    #[must_use]
    pub fn new(target: &Path) -> Self {
        let (target, source) = (target.to_owned(), "composefs".to_owned());
        Self { target, source, allow_other: false, attributes: MountAttributes::default() }
    }

    fn options(&self) -> FuseMountOptions {
        let (source, subtype) = (self.source.clone(), "composefs".to_owned());
        FuseMountOptions { source, subtype, allow_other: self.allow_other, attributes: self.attributes }
    }
}

impl FuseMount {
    /// Mounts. Without the privilege to do so, `fusermount3` is asked.
    ///
    /// # Errors
    ///
    /// [`FuseError`] of the device, the mount or the program.
    pub fn new(request: &MountRequest) -> Result<Self, FuseError> {
        if !may_mount() {
            return Self::by_program(request);
        }
        let device = fuse::open_device().map_err(FuseError::Device)?;
        let refused = |source| FuseError::Mount { target: request.target.clone(), source };
        let options = request.options();
        match fuse::mount_detached(device.as_fd(), &options) {
            Ok(mount) => mount.attach(&request.target).map_err(refused)?,
            Err(error) if error.errno == Errno::NOSYS => {
                fuse::mount_by_old_call(device.as_fd(), &options, &request.target).map_err(refused)?;
            }
            Err(error) => return Err(refused(error)),
        }
        Ok(Self { device, mounted_by: MountedBy::Kernel })
    }

    fn by_program(request: &MountRequest) -> Result<Self, FuseError> {
        let device = fuse::mount_by_program(&request.options(), &request.target);
        let device = device.map_err(|error| FuseError::of_program(&request.target, error))?;
        Ok(Self { device, mounted_by: MountedBy::Program })
    }

    /// Returns the device that serves the mount, and the way to unmount it.
    #[must_use]
    pub fn into_parts(self) -> (OwnedFd, MountedBy) {
        (self.device, self.mounted_by)
    }
}

impl MountedBy {
    /// Unmounts; `lazily` takes the mount away at once and lets its last user finish.
    ///
    /// # Errors
    ///
    /// [`FuseError`] of the kernel or the program.
    pub fn unmount(self, target: &Path, lazily: bool) -> Result<(), FuseError> {
        match self {
            Self::Kernel => libcomposefs_sys::mount::unmount(target, lazily)
                .map_err(|source| FuseError::Mount { target: target.to_owned(), source }),
            Self::Program => {
                fuse::unmount_by_program(target, lazily).map_err(|error| FuseError::of_program(target, error))
            }
        }
    }
}

/// Returns true if the process may mount: root, or root of a user namespace.
#[must_use]
pub fn may_mount() -> bool {
    let capabilities = rustix::thread::capabilities(None);
    capabilities.is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN))
}
