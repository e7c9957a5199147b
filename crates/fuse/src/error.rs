//! Errors of mounting and serving in user space.

use std::io;
use std::path::{Path, PathBuf};

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::read::ReadError;
use libcomposefs_store::ObjectError;
use libcomposefs_sys::fuse::MountProgramError;
use libcomposefs_sys::mount::MountError;
use rustix::io::Errno;

use crate::protocol::BadRequest;

/// Error before an image is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FuseError {
    /// The device cannot be opened.
    #[error("cannot open /dev/fuse: {0}")]
    Device(io::Error),
    /// The kernel refused the mount.
    #[error("cannot mount {} by FUSE: {source}", .target.display())]
    Mount {
        /// The mount point.
        target: PathBuf,
        /// The step that was refused.
        source: MountError,
    },
    /// The kernel refused a mount that is attached nowhere.
    #[error("cannot make a layer by FUSE: {0}")]
    Layer(MountError),
    /// The kernel does not join the layers.
    #[error("cannot mount {} by overlayfs: {source}", .target.display())]
    Overlay {
        /// The mount point.
        target: PathBuf,
        /// The step that was refused.
        source: MountError,
    },
    /// A directory of the overlay cannot be opened.
    #[error("cannot open the directory {}: {source}", .directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// `fusermount3` cannot be started.
    #[error("cannot run fusermount3 for {}: {source}", .target.display())]
    Program {
        /// The mount point.
        target: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// `fusermount3` refused to mount or unmount.
    #[error("fusermount3 refused {}: {said}", .target.display())]
    ProgramRefused {
        /// The mount point.
        target: PathBuf,
        /// What the program printed.
        said: String,
    },
    /// The image is not readable.
    #[error("{}: {source}", .image.display())]
    Image {
        /// Path of the image.
        image: PathBuf,
        /// The defect.
        source: Box<ReadError>,
    },
    /// The image has another digest.
    #[error("{} has another digest: expected {expected:?}, found {found:?}", .image.display())]
    Digest {
        /// Path of the image.
        image: PathBuf,
        /// The digest that is demanded.
        expected: Box<Digest>,
        /// The digest of the file.
        found: Box<Digest>,
    },
    /// The objects cannot be opened.
    #[error(transparent)]
    ObjectContents(#[from] ObjectError),
    /// The session ended.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl FuseError {
    pub(crate) fn of_program(target: &Path, error: MountProgramError) -> Self {
        let target = target.to_owned();
        match error {
            MountProgramError::Io(source) => Self::Program { target, source },
            MountProgramError::Refused(said) => Self::ProgramRefused { target, said },
        }
    }

    /// Returns what can be done about it, if that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Device(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some("make /dev/fuse accessible: its mode is usually 0666")
            }
            Self::Device(_) => Some("load the kernel module: modprobe fuse; in a container, pass /dev/fuse on"),
            Self::Overlay { source, .. } | Self::Layer(source) if source.errno == Errno::PERM => Some(
                "overlayfs needs root, or root of a user namespace: `unshare --user --map-root-user --mount`; or use \
                 --via=fuse",
            ),
            Self::Overlay { .. } => Some(
                "this kernel may not join the image of a user with its objects, which needs Linux 6.16: use --via=fuse",
            ),
            Self::Program { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("install fusermount3, of the package fuse3")
            }
            Self::ProgramRefused { said, .. } if said.contains("/dev/fuse") => {
                Some("make /dev/fuse accessible: its mode is usually 0666; load its module by `modprobe fuse`")
            }
            Self::ProgramRefused { .. } => Some(
                "the user must own the mount point; the option allow_other needs user_allow_other in /etc/fuse.conf",
            ),
            Self::Digest { .. } => Some("it is another image, or it was changed: get the right one"),
            _ => None,
        }
    }
}

/// Error of a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The device failed.
    #[error("cannot {step} the FUSE device: {source}")]
    Device {
        /// The operation, as a verb for the message.
        step: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// The first request has no known form.
    #[error(transparent)]
    Request(BadRequest),
    /// The kernel speaks another version of the protocol.
    #[error("the kernel speaks version {major}.{minor} of the FUSE protocol: 7.23 or later is needed")]
    Version {
        /// The number before the dot.
        major: u32,
        /// The number after it.
        minor: u32,
    },
    /// The file system was unmounted before the session began.
    #[error("the file system was unmounted before it was served")]
    UnmountedBefore,
}
