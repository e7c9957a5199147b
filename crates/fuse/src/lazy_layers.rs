//! A test of what lazy mounts by the kernel rely on: overlayfs takes layers that are attached nowhere, and looks for an
//! object in the next layer after one that gave an error.
//!
//! The documentation of overlayfs promises neither, so the test mounts such an overlay and reads a file. It takes a few
//! milliseconds.

use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, OwnedFd};

use libcomposefs_sys::mount::{FsContext, MountAttrFlags, MountError, MountFd};
use rustix::fs::{Mode, OFlags, XattrFlags, fsetxattr, mkdirat, openat};
use rustix::io::Errno;

use crate::error::FuseError;
use crate::layers::FuseLayer;
use crate::lookup_layer::{LookupLayer, NoObject};
use crate::session::FuseSession;

/// Reason why this kernel has no lazy mounts by overlayfs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LazyLayersError {
    /// A FUSE mount cannot be made.
    #[error(transparent)]
    Fuse(FuseError),
    /// The kernel refuses the layers.
    #[error("this kernel does not join layers that are attached nowhere, which needs Linux 6.15: {0}")]
    Layers(MountError),
    /// No thread can be started for the test.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The kernel does not go on after a layer that failed.
    #[error("the overlayfs of this kernel does not look into the next layer after an error: {0}")]
    NextLayer(Errno),
}

/// The content of the file that is read.
const CONTENT: &[u8] = b"found";

/// Tests whether a lazy mount by overlayfs works for this process. Nothing is attached, and all of it ends at once.
///
/// # Errors
///
/// [`LazyLayersError`]
pub fn test_lazy_layers() -> Result<(), LazyLayersError> {
    // A mount that is attached nowhere ends with its descriptor, though its root is open.
    let mounts = [memory()?, memory()?, memory()?];
    let [metadata, empty, objects] = mounts.each_ref().map(MountFd::root);
    let layers = (|| Ok((metadata?, empty?, objects?)))();
    let (metadata, empty, objects) = layers.map_err(LazyLayersError::Layers)?;
    let make = || -> Result<(), Errno> {
        let object = format!("00/{:062}", 0);
        let file = create(&metadata, "file", &[])?;
        rustix::fs::ftruncate(&file, CONTENT.len() as u64)?;
        fsetxattr(&file, "trusted.overlay.metacopy", b"", XattrFlags::empty())?;
        let redirect = format!("/{object}");
        fsetxattr(&file, "trusted.overlay.redirect", redirect.as_bytes(), XattrFlags::empty())?;
        mkdirat(&objects, "00", Mode::from_raw_mode(0o755))?;
        create(&objects, &object, CONTENT).map(drop)
    };
    make().map_err(LazyLayersError::NextLayer)?;
    let (device, refusing) = FuseLayer::new().map_err(LazyLayersError::Fuse)?;
    std::thread::scope(|scope| {
        let serve = || {
            let layer = LookupLayer::new(NoObject);
            let session = FuseSession::begin(device, &layer)?;
            session.serve(&layer, NonZeroUsize::MIN)
        };
        let server = std::thread::Builder::new().spawn_scoped(scope, serve).map_err(LazyLayersError::Thread)?;
        let found = read_through([&metadata, &empty, &objects], &refusing);
        // The session ends with its last mount.
        drop(refusing);
        let _ = server.join();
        found
    })
}

/// Reads the file through an overlay whose second layer of objects answers by an error.
fn read_through([metadata, empty, objects]: [&OwnedFd; 3], refusing: &FuseLayer) -> Result<(), LazyLayersError> {
    let refusing = refusing.root().map_err(LazyLayersError::Fuse)?;
    let join = || -> Result<MountFd, MountError> {
        let context = FsContext::open("overlay")?;
        context.set_string("metacopy", "on")?;
        context.set_string("redirect_dir", "on")?;
        context.set_fd("lowerdir+", metadata)?;
        for layer in [empty, &refusing, objects] {
            context.set_fd("datadir+", layer)?;
        }
        context.set_flag("ro")?;
        context.create()?;
        context.mount(MountAttrFlags::MOUNT_ATTR_RDONLY)
    };
    let mount = join().map_err(LazyLayersError::Layers)?;
    let root = mount.root().map_err(LazyLayersError::Layers)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(&root, "file", flags, Mode::empty()).map_err(LazyLayersError::NextLayer)?;
    let mut found = Vec::new();
    match std::fs::File::from(file).read_to_end(&mut found) {
        Ok(_) if found == CONTENT => Ok(()),
        Ok(_) => Err(LazyLayersError::NextLayer(Errno::IO)),
        Err(error) => Err(LazyLayersError::NextLayer(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
    }
}

/// Returns a new file system in memory, which is attached nowhere.
fn memory() -> Result<MountFd, LazyLayersError> {
    let make = || {
        let context = FsContext::open("tmpfs")?;
        context.create()?;
        context.mount(MountAttrFlags::empty())
    };
    make().map_err(LazyLayersError::Layers)
}

fn create(directory: &OwnedFd, name: &str, content: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(directory.as_fd(), name, flags, Mode::from_raw_mode(0o644))?;
    rustix::io::write(&file, content)?;
    Ok(file)
}
