//! Mounts the root of a container: the image, and a directory for changes on top.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::{fs, io};

use anyhow::Context as _;
use libcomposefs_sys::mount::{FsContext, MountAttrFlags, MountError};

/// Layers of a container's root.
pub(super) struct RootLayers<'a> {
    /// Mounted image.
    pub(super) lower: &'a Path,
    /// Directory for changes.
    pub(super) upper: &'a Path,
    /// Empty directory on the same file system, for the kernel.
    pub(super) work: &'a Path,
    /// The overlay is that of a user namespace, which cannot write `trusted.*` attributes.
    pub(super) is_users: bool,
    /// Changes need not survive a crash, so the kernel does not write them to disk at the end.
    pub(super) is_volatile: bool,
}

/// Mounts the layers at `target`.
pub(super) fn mount(layers: &RootLayers<'_>, target: &Path) -> Result<(), MountError> {
    let context = FsContext::open("overlay")?;
    // `composefs mounts` lists overlays of the source `composefs`, which is that of the image below.
    context.set_string("source", "composefs-container")?;
    context.set_string("lowerdir", layers.lower)?;
    context.set_string("upperdir", layers.upper)?;
    context.set_string("workdir", layers.work)?;
    if layers.is_users {
        context.set_flag("userxattr")?;
    }
    if layers.is_volatile {
        context.set_flag("volatile")?;
    }
    context.create()?;
    context.mount(MountAttrFlags::empty())?.attach(target)
}

/// Gives a directory the mode and the owner of another: the root of an overlay has those of its upper directory.
pub(super) fn copy_attributes(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copy = || -> io::Result<()> {
        let stat = fs::metadata(from)?;
        std::os::unix::fs::chown(to, Some(stat.uid()), Some(stat.gid()))?;
        fs::set_permissions(to, fs::Permissions::from_mode(stat.mode() & 0o7777))
    };
    copy().with_context(|| format!("cannot copy the owner and mode of {} to {}", from.display(), to.display()))
}
