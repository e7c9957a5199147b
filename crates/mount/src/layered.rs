//! Mounting several images as layers of one overlay, each of which is mounted with its objects first.
//!
//! The images have whiteouts and opaque directories as files with attributes, which only overlayfs shows as such (Linux
//! 6.7, `ovl_path_is_xwhiteout` in `fs/overlayfs/util.c`), so each becomes an overlay of its own below the common one.

use std::os::fd::AsFd as _;
use std::path::Path;

use libcomposefs_sys::mount::{FsContext, MountError, MountFd};
use rustix::io::Errno;

use crate::detached::{DetachedMount, open_target};
use crate::erofs::temporary;
use crate::error::Error;
use crate::failure::Failure;
use crate::image::ImageFile;
use crate::layer::Layers;
use crate::method::KernelFeatures;
use crate::mountpoint::TemporaryMountpoint;
use crate::plan::Plan;

impl Plan {
    /// Mounts images as layers of one overlay at the directory `target`, the lowest first, each as planned. Of this
    /// plan, the writable layer, the flags and the source count; its image is that of messages. On failure nothing
    /// stays mounted. A single layer needs no overlay of its own: [`Plan::mount_at`] mounts it.
    ///
    /// # Errors
    ///
    /// Those of [`Plan::mount`] and [`Plan::mount_at`]. Before Linux 6.7 the kernel refuses.
    pub fn mount_layers_at(
        &self,
        layers: &[(Plan, ImageFile)],
        target: &Path,
        allowed: KernelFeatures,
    ) -> Result<(), Error> {
        let at = open_target(&self.image, target)?;
        let mut joined = self.mount_layers(layers, allowed);
        // An image that is mounted from its file counts as a level of its own in some releases of 6.18 and before, and
        // overlayfs allows two (`FILESYSTEM_MAX_STACK_DEPTH`).
        if allowed.file_backed && matches!(&joined, Err(Error::Kernel { source, .. }) if source.errno == Errno::INVAL) {
            joined = self.mount_layers(layers, KernelFeatures { file_backed: false, ..allowed });
        }
        let joined = joined?;
        self.with_kernel_log(|| Ok(joined.attach_to(at.as_fd(), target)?))
    }

    fn mount_layers(&self, layers: &[(Plan, ImageFile)], allowed: KernelFeatures) -> Result<DetachedMount, Error> {
        let mounts: Result<Vec<DetachedMount>, Error> =
            layers.iter().map(|(plan, image)| plan.mount(image, allowed)).collect();
        let mounts = mounts?;
        self.with_kernel_log(|| {
            let report = mounts.first().map(|mount| mount.report().clone());
            let report = report.ok_or_else(|| Failure::from(no_layers()))?;
            let directories = Layers::open(self)?;
            let joined = if allowed.detached { self.join_detached(&mounts, &directories) } else { Err(no_layers()) };
            let mount = match joined {
                // 6.12 takes no descriptor as a layer, 6.13 and 6.14 none of a mount that is attached nowhere.
                Err(error) if error.errno == Errno::INVAL => {
                    let mut places = Vec::new();
                    for mount in &mounts {
                        let mut place = temporary(self)?;
                        mount.attach(place.path())?;
                        place.now_has_mount();
                        places.push(place);
                    }
                    self.join_places(&places, &directories)?
                }
                answer => answer?,
            };
            Ok(DetachedMount::new(mount, &self.image, report))
        })
    }

    fn join_detached(&self, mounts: &[DetachedMount], directories: &Layers) -> Result<MountFd, MountError> {
        let context = self.layered_context()?;
        for mount in mounts.iter().rev() {
            context.set_fd("lowerdir+", mount.mount_fd().root()?)?;
        }
        self.finish_layered(&context, directories)
    }

    fn join_places(&self, places: &[TemporaryMountpoint], directories: &Layers) -> Result<MountFd, MountError> {
        let context = self.layered_context()?;
        for place in places.iter().rev() {
            context.set_string("lowerdir+", place.path())?;
        }
        self.finish_layered(&context, directories)
    }

    fn layered_context(&self) -> Result<FsContext, MountError> {
        let context = FsContext::open("overlay")?;
        context.set_string("source", &self.source)?;
        context.set_string("metacopy", "on")?;
        context.set_string("redirect_dir", "on")?;
        Ok(context)
    }

    fn finish_layered(&self, context: &FsContext, directories: &Layers) -> Result<MountFd, MountError> {
        if let Some((upper, work)) = &directories.upper {
            upper.set(context, "upperdir")?;
            work.set(context, "workdir")?;
        }
        context.create()?;
        context.mount(self.options().flags.mount_attr_flags())
    }
}

/// The error of an overlay without layers, as the kernel has it.
fn no_layers() -> MountError {
    MountError { step: "joining the layers".into(), errno: Errno::INVAL, log: Vec::new() }
}
