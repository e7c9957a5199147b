//! Directories for the changes of containers: on disk, locked as long as their container runs, removed afterwards.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use libcomposefs_sys::locked_directory::{make_locked_directory, remove_abandoned};
use rustix::io::Errno;

use super::bundle::{OciBundle, make_directory};
use super::overlay::{self, RootLayers};
use super::remove_tree::remove_tree;

/// Directory for large temporary files, which are on disk.
const PARENT: &str = "/var/tmp";
const PREFIX: &str = "composefs-run-";

/// Directory on disk for the changes of a container. It is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct ContainerChanges {
    parent: File,
    name: String,
    /// Holds the lock.
    directory: OwnedFd,
}

/// Mounts the root of a container on the mounted image of its OCI bundle. Changes go to disk. They go to the memory of
/// the bundle if the root is read-only, since only the runtime's mount points are changes then, and if the file system
/// of the disk cannot store changes: overlayfs itself, in another container.
pub(super) fn mount_root(
    bundle: &OciBundle,
    is_read_only: bool,
    is_users: bool,
) -> anyhow::Result<Option<ContainerChanges>> {
    if !is_read_only {
        let changes = ContainerChanges::on_disk()?;
        match mount_on(bundle, &changes.path(), Durability::Volatile, is_users) {
            Ok(()) => return Ok(Some(changes)),
            Err(error) if is_unsupported(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let directory = bundle.path().join("changes");
    make_directory(&directory)?;
    mount_on(bundle, &directory, Durability::Volatile, is_users)?;
    Ok(None)
}

/// Whether changes of a container survive a crash of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// They need not.
    Volatile,
    /// They do.
    Kept,
}

/// Mounts the root of a container whose changes go to `directory`.
pub(super) fn mount_on(
    bundle: &OciBundle,
    directory: &Path,
    durability: Durability,
    is_users: bool,
) -> anyhow::Result<()> {
    let (upper, work) = (directory.join("upper"), directory.join("work"));
    make_directory(&upper)?;
    make_directory(&work)?;
    overlay::copy_attributes(&bundle.lower(), &upper)?;
    let is_volatile = durability == Durability::Volatile;
    let layers = RootLayers { lower: &bundle.lower(), upper: &upper, work: &work, is_users, is_volatile };
    overlay::mount(&layers, &bundle.root())
        .with_context(|| format!("cannot mount the root of the container at {}", bundle.root().display()))
}

fn is_unsupported(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<libcomposefs_sys::mount::MountError>();
    cause.is_some_and(|cause| matches!(cause.errno, Errno::INVAL | Errno::OPNOTSUPP))
}

impl ContainerChanges {
    /// Makes a directory, and removes those that killed processes of this user have left.
    pub(crate) fn on_disk() -> anyhow::Result<Self> {
        let parent = Path::new(PARENT);
        let sweep = || -> std::io::Result<()> {
            let parent = File::open(parent)?;
            remove_abandoned(parent.as_fd(), PREFIX, |name, directory| {
                // The next container tries again.
                let _ = remove_tree(parent.as_fd(), name, directory);
            })
        };
        sweep().with_context(|| format!("cannot read {PARENT}"))?;
        Self::create(parent).with_context(|| format!("cannot create a directory in {PARENT}"))
    }

    fn create(parent: &Path) -> std::io::Result<Self> {
        let parent = File::open(parent)?;
        let (name, directory) = make_locked_directory(parent.as_fd(), PREFIX)?;
        Ok(Self { parent, name, directory })
    }

    /// Returns a descriptor for the runtime, whose process holds the lock with it: if only this process is killed, the
    /// container lives on.
    pub(super) fn inheritable_lock(&self) -> std::io::Result<OwnedFd> {
        Ok(rustix::io::dup(&self.directory)?)
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new(PARENT).join(&self.name)
    }
}

impl Drop for ContainerChanges {
    fn drop(&mut self) {
        // The next container tries again.
        let _ = remove_tree(self.parent.as_fd(), self.name.as_str(), self.directory.as_fd());
    }
}
