//! FUSE mounts as layers: attached nowhere, and joined by the kernel's overlayfs for a user (`userxattr`).
//!
//! The layers go when the overlay goes, and with them the sessions of their servers. It needs descriptors as layers
//! (Linux 6.15), and in a user namespace data-only layers (Linux 6.16).

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use libcomposefs_sys::fuse::{self, FuseMountOptions, MountAttributes};
use libcomposefs_sys::mount::{FsContext, MountAttrFlags, MountError, MountFd};
use rustix::fs::{Mode, OFlags};

use crate::error::FuseError;

/// A FUSE mount that is attached nowhere. It goes when this is dropped, unless an overlay has it as a layer.
#[derive(Debug)]
pub struct FuseLayer(MountFd);

/// The layer of an overlay that has the contents of files.
#[derive(Debug)]
pub enum ObjectLayer {
    /// Object directories, whose objects the kernel reads, and verifies by their fs-verity.
    Directories(Vec<PathBuf>),
    /// A mount whose server verifies the objects.
    Served(FuseLayer),
}

/// An overlay of served layers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverlayRequest {
    /// The mount point.
    pub target: PathBuf,
    /// Source of the mount, as the list of mounts shows it.
    pub source: String,
    /// Attributes of the mount.
    pub attributes: MountAttributes,
    /// The directories `upperdir` and `workdir`, if changes are stored.
    pub upper: Option<(PathBuf, PathBuf)>,
}

impl FuseLayer {
    /// Makes a layer, and returns it with the device to serve.
    ///
    /// # Errors
    ///
    /// [`FuseError`] of the device or the mount.
    pub fn new() -> Result<(OwnedFd, Self), FuseError> {
        let device = fuse::open_device().map_err(FuseError::Device)?;
        let options = FuseMountOptions {
            source: "composefs".to_owned(),
            subtype: "composefs".to_owned(),
            // All users of the overlay read through its layers.
            allow_other: true,
            // Those of the overlay count.
            attributes: MountAttributes { nosuid: false, nodev: false, noexec: false, noatime: true },
        };
        let mount = fuse::mount_detached(device.as_fd(), &options).map_err(FuseError::Layer)?;
        Ok((device, Self(mount)))
    }

    /// Returns the root directory, as a layer for an overlay.
    ///
    /// # Errors
    ///
    /// [`FuseError::Layer`]
    pub fn root(&self) -> Result<OwnedFd, FuseError> {
        self.0.root().map_err(FuseError::Layer)
    }
}

impl OverlayRequest {
    /// An overlay at `target` that is read-only.
    #[must_use]
    pub fn new(target: &Path) -> Self {
        let (target, source) = (target.to_owned(), "composefs".to_owned());
        Self { target, source, attributes: MountAttributes::default(), upper: None }
    }

    /// Joins the layer of names and metadata with that of the objects. What is served must be served meanwhile.
    ///
    /// # Errors
    ///
    /// [`FuseError::Overlay`], and [`FuseError::Directory`].
    pub fn mount(&self, metadata: &FuseLayer, objects: &ObjectLayer) -> Result<(), FuseError> {
        let refused = |source| FuseError::Overlay { target: self.target.clone(), source };
        let mut datadirs = Vec::new();
        match objects {
            ObjectLayer::Served(served) => datadirs.push(served.0.root().map_err(refused)?),
            ObjectLayer::Directories(directories) => {
                for directory in directories {
                    datadirs.push(open_directory(directory)?);
                }
            }
        }
        let upper = match &self.upper {
            Some((upper, work)) => Some((open_directory(upper)?, open_directory(work)?)),
            None => None,
        };
        let is_verified_by_kernel = matches!(objects, ObjectLayer::Directories(_));
        self.join(metadata, &datadirs, upper, is_verified_by_kernel)
            .and_then(|mount| mount.attach(&self.target))
            .map_err(refused)
    }

    fn join(
        &self,
        metadata: &FuseLayer,
        datadirs: &[OwnedFd],
        upper: Option<(OwnedFd, OwnedFd)>,
        is_verified_by_kernel: bool,
    ) -> Result<MountFd, MountError> {
        let context = FsContext::open("overlay")?;
        context.set_string("source", &self.source)?;
        context.set_flag("userxattr")?;
        context.set_fd("lowerdir+", metadata.0.root()?)?;
        for datadir in datadirs {
            context.set_fd("datadir+", datadir)?;
        }
        if is_verified_by_kernel {
            context.set_string("verity", "require")?;
        }
        let is_read_only = upper.is_none();
        match upper {
            Some((upper, work)) => {
                context.set_fd("upperdir", upper)?;
                context.set_fd("workdir", work)?;
            }
            None => context.set_flag("ro")?,
        }
        context.create()?;
        context.mount(self.attributes.flags(is_read_only))
    }
}

fn open_directory(directory: &Path) -> Result<OwnedFd, FuseError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty());
    opened.map_err(|errno| FuseError::Directory { directory: directory.to_owned(), source: errno.into() })
}

/// Tests whether this kernel joins layers for this process: mounts an overlay of two empty file systems in memory,
/// which are attached nowhere and end at once. Nothing is concluded from the version of the kernel.
///
/// # Errors
///
/// The step that the kernel refused.
pub fn test_layers() -> Result<(), MountError> {
    let empty = || -> Result<MountFd, MountError> {
        let context = FsContext::open("tmpfs")?;
        context.create()?;
        context.mount(MountAttrFlags::empty())
    };
    let (metadata, objects) = (empty()?, empty()?);
    let context = FsContext::open("overlay")?;
    context.set_flag("userxattr")?;
    context.set_fd("lowerdir+", metadata.root()?)?;
    context.set_fd("datadir+", objects.root()?)?;
    context.set_flag("ro")?;
    context.create()?;
    context.mount(MountAttrFlags::MOUNT_ATTR_RDONLY).map(drop)
}
