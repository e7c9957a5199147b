//! Carrying out a plan: the checks first, then the image, then the overlay.
//!
//! Everything on the way is owned by values that undo it when dropped, so that a failure leaves no mount, no loop
//! device and no directory.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use libcomposefs_sys::kernel_log::KernelLog;
use libcomposefs_sys::mount::{MountAttrFlags, clone_mount};
use libcomposefs_sys::namespace::Visit;
use libcomposefs_sys::proc_fd;

use crate::detached::{DetachedMount, open_target};
use crate::erofs::{self, ErofsMount, Request};
use crate::error::Error;
use crate::failure::Failure;
use crate::image::ImageFile;
use crate::layer::Layers;
use crate::legacy;
use crate::method::{ErofsMethod, KernelFeatures, Mounted, OverlayMethod};
use crate::mountpoint::TemporaryMountpoint;
use crate::options::Verity;
use crate::overlay::{self, Joined};
use crate::plan::Plan;
use crate::probe::{self, Overlayfs};

impl Plan {
    /// Mounts `image` as planned, attached nowhere. On failure nothing stays mounted.
    ///
    /// Where overlayfs has no mount contexts (before Linux 6.5) the overlay is mounted at a temporary directory and the
    /// mount is taken from there (`open_tree`). That needs Linux 5.2; [`Plan::mount_at`] works before, too.
    ///
    /// # Errors
    ///
    /// Every [`Error`] but those of opening the image and its header.
    pub fn mount(&self, image: &ImageFile, allowed: KernelFeatures) -> Result<DetachedMount, Error> {
        self.with_kernel_log(|| {
            let prepared = Prepared::new(self, image)?;
            let (joined, erofs) = prepared.join(allowed, None)?;
            let (mount, overlay) = match joined {
                Joined::Detached(mount, method) => (mount, method),
                Joined::NeedsTarget(lower) => {
                    let mut at = erofs::temporary(self)?;
                    let method = prepared.mount_legacy(&lower, at.path())?;
                    at.now_has_mount();
                    (clone_mount(at.path())?, method)
                }
            };
            let report = Mounted { erofs, overlay, verity: prepared.verity };
            Ok(DetachedMount::new(mount, &self.image, report))
        })
    }

    /// Mounts `image` as planned at the directory `target`. On failure nothing stays mounted.
    ///
    /// # Errors
    ///
    /// Every [`Error`] but those of opening the image and its header.
    pub fn mount_at(&self, image: &ImageFile, target: &Path, allowed: KernelFeatures) -> Result<Mounted, Error> {
        self.mount_at_in(image, target, allowed, None)
    }

    /// Does the same in the mount namespace that the thread visits, if any.
    ///
    /// # Errors
    ///
    /// As [`Plan::mount_at`].
    pub fn mount_at_in(
        &self,
        image: &ImageFile,
        target: &Path,
        allowed: KernelFeatures,
        visit: Option<&Visit>,
    ) -> Result<Mounted, Error> {
        self.with_kernel_log(|| {
            let prepared = Prepared::new(self, image)?;
            // This very directory is mounted at: its path is not looked up again.
            let at = open_target(&self.image, target)?;
            let (joined, erofs) = prepared.join(allowed, visit)?;
            let overlay = match joined {
                Joined::Detached(mount, method) => {
                    mount.attach_to(at.as_fd(), target)?;
                    method
                }
                // `mount(2)` takes paths only: that of the link in `/proc`, or where `/proc` is missing, the path
                // itself.
                Joined::NeedsTarget(lower) => {
                    let target = proc_fd::link(&at).unwrap_or_else(|| target.to_owned());
                    prepared.mount_legacy(&lower, &target)?
                }
            };
            Ok(Mounted { erofs, overlay, verity: prepared.verity })
        })
    }

    /// Mounts the EROFS image alone, without overlayfs and objects, attached nowhere: names, metadata and small files,
    /// for programs that join the layers themselves. Of the options, the digest, `idmap`, the read-ahead and the flags
    /// count.
    ///
    /// # Errors
    ///
    /// Every [`Error`] but those of opening the image and its header, and of layers.
    pub fn mount_image(&self, image: &ImageFile, allowed: KernelFeatures) -> Result<DetachedMount, Error> {
        self.with_kernel_log(|| {
            let plan = &self.checked(image)?;
            let userns = erofs::open_userns(plan)?;
            let attributes = plan.options().flags.mount_attr_flags() | MountAttrFlags::MOUNT_ATTR_RDONLY;
            let request = Request { plan, image, userns: userns.as_ref(), allowed, attributes };
            let (mount, erofs) = erofs::mount(&request)?;
            let mount = match mount {
                ErofsMount::Detached(mount) => mount,
                ErofsMount::At(at) => clone_mount(at.path())?,
            };
            let report = Mounted { erofs, overlay: OverlayMethod::ImageOnly, verity: Verity::Off };
            Ok(DetachedMount::new(mount, &self.image, report))
        })
    }

    /// Runs the steps of a mount, and adds the lines of the kernel's log to an error of the kernel.
    pub(crate) fn with_kernel_log<T>(&self, steps: impl FnOnce() -> Result<T, Failure>) -> Result<T, Error> {
        let mut log = KernelLog::from_now();
        steps().map_err(|failure| match failure {
            Failure::Other(error) => error,
            Failure::Kernel(source) => {
                let mut kernel_log = log.lines(&["overlayfs: ", "overlay: ", "erofs", "fs-verity", "loop"]);
                kernel_log.retain(|line| !line.contains("mounted with root inode"));
                Error::Kernel { image: self.image.clone(), source, kernel_log }
            }
        })
    }

    /// Compares the digest of the image, and returns the plan with what the header says then: it was first read before
    /// fs-verity was found to be enabled, and only from there on the bytes cannot change.
    fn checked(&self, image: &ImageFile) -> Result<Plan, Error> {
        image.check(self.options())?;
        let mut plan = self.clone();
        plan.acl = image.header()?.has_acl();
        Ok(plan)
    }
}

/// A plan after the checks, with everything open that it names.
struct Prepared<'a> {
    plan: Plan,
    image: &'a ImageFile,
    userns: Option<OwnedFd>,
    layers: Layers,
    overlayfs: Overlayfs,
    verity: Verity,
}

impl<'a> Prepared<'a> {
    fn new(plan: &Plan, image: &'a ImageFile) -> Result<Self, Failure> {
        // The kernel's features are checked first: no other image changes them, so that the user does not seal the
        // image in vain.
        let overlayfs = Overlayfs::probe()?;
        let wish = plan.options().verity();
        let verity = overlayfs.verity(wish).ok_or_else(|| Error::NoOverlayVerity {
            image: plan.image.clone(),
            demand: wish.overlay_value().unwrap_or_default(),
            release: probe::release(),
        })?;
        plan.check_statfs()?;
        let plan = plan.checked(image)?;
        let userns = erofs::open_userns(&plan)?;
        let layers = Layers::open(&plan)?;
        Ok(Self { plan, image, userns, layers, overlayfs, verity })
    }

    /// Mounts the image and joins the layers.
    fn join(&self, allowed: KernelFeatures, visit: Option<&Visit>) -> Result<(Joined, ErofsMethod), Failure> {
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
        let userns = self.userns.as_ref();
        let request = Request { plan: &self.plan, image: self.image, userns, allowed, attributes };
        let (mounted, method) = match visit {
            None => erofs::mount(&request)?,
            Some(visit) => erofs::mount_at_home(&request, visit)?,
        };
        let joined = overlay::join_layers(&self.plan, mounted, &self.layers, self.overlayfs, self.verity, allowed)?;
        Ok((joined, method))
    }

    fn mount_legacy(&self, lower: &TemporaryMountpoint, target: &Path) -> Result<OverlayMethod, Failure> {
        legacy::mount(&self.plan, lower.path(), &self.layers, target, self.overlayfs, self.verity)
    }
}
