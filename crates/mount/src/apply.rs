//! Carrying out a plan: the checks first, then the image, then the overlay.
//!
//! Everything on the way is owned by values that undo it when dropped, so that a failure leaves no mount, no loop
//! device and no directory behind.

use std::fmt;

use std::os::fd::OwnedFd;

use libcomposefs_sys::kernel_log::KernelLog;
use libcomposefs_sys::namespace::Visit;
use rustix::fs::{Mode, OFlags};

use crate::erofs;
use crate::error::Error;
use crate::failure::Failure;
use crate::image::ImageFile;
use crate::layer::Layers;
use crate::method::{Allowed, ErofsWay, OverlayWay};
use crate::options::Verity;
use crate::overlay;
use crate::plan::Plan;
use crate::probe::{self, Overlayfs};

/// What [`apply`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// How the image was mounted.
    pub erofs: ErofsWay,
    /// How the layers were joined.
    pub overlay: OverlayWay,
    /// What overlayfs checks: never [`Verity::RequireIfSupported`].
    pub verity: Verity,
}

/// Mounts `image` as planned. On failure nothing is left behind.
///
/// # Errors
///
/// Every [`Error`] but those of opening the image and its header.
pub fn apply(plan: &Plan, image: &ImageFile, allowed: Allowed) -> Result<Mounted, Error> {
    apply_in(plan, image, allowed, None)
}

/// The same in the mount namespace that the thread visits, if any.
///
/// # Errors
///
/// As [`apply`].
pub fn apply_in(plan: &Plan, image: &ImageFile, allowed: Allowed, visit: Option<&Visit>) -> Result<Mounted, Error> {
    let mut log = KernelLog::from_now();
    mount(plan, image, allowed, visit).map_err(|failure| match failure {
        Failure::Other(error) => error,
        Failure::Kernel(source) => {
            let mut kernel_log = log.lines(&["overlayfs: ", "overlay: ", "erofs", "fs-verity", "loop"]);
            kernel_log.retain(|line| !line.contains("mounted with root inode"));
            Error::Kernel { image: plan.image.clone(), source, kernel_log }
        }
    })
}

fn mount(plan: &Plan, image: &ImageFile, allowed: Allowed, visit: Option<&Visit>) -> Result<Mounted, Failure> {
    // First what no other image could change: whoever must update the kernel need not seal the image before.
    let overlayfs = Overlayfs::probe()?;
    let verity = overlayfs.verity(plan.verity).ok_or_else(|| Error::NoOverlayVerity {
        image: plan.image.clone(),
        demand: plan.verity.overlay_value().unwrap_or_default(),
        release: probe::release(),
    })?;
    if let Some(digest) = &plan.digest {
        image.check_digest(digest)?;
    }
    // What the plan was made of was read before fs-verity was found on: only from here on the bytes cannot change.
    let plan = &Plan { acl: image.header()?.has_acl(), ..plan.clone() };
    let userns = plan.idmap.as_ref().map(erofs::open_userns).transpose()?;
    let layers = Layers::open(plan)?;
    let target = open_target(plan)?;
    let (mounted, erofs) = match visit {
        None => erofs::mount(plan, image, userns.as_ref(), allowed)?,
        Some(visit) => erofs::mount_at_home(plan, image, userns.as_ref(), allowed, visit)?,
    };
    let overlay = overlay::mount(plan, mounted, &layers, &target, overlayfs, verity, allowed)?;
    Ok(Mounted { erofs, overlay, verity })
}

/// Opens the mount point, before anything is mounted. This very directory is mounted at: its path is not looked up again.
fn open_target(plan: &Plan) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&plan.target, flags, Mode::empty()).map_err(|errno| Error::Directory {
        image: plan.image.clone(),
        role: "mount point",
        dir: plan.target.clone(),
        source: errno.into(),
    })
}

impl fmt::Display for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.erofs {
            ErofsWay::File => f.write_str("image mounted from its file, ")?,
            ErofsWay::Loop(device) => write!(f, "image mounted through {}, ", device.display())?,
        }
        f.write_str(match self.overlay {
            OverlayWay::Detached => "overlay over the detached mount",
            OverlayWay::Mountpoint => "overlay over a temporary mount point",
            OverlayWay::OneText => "overlay by mount(2)",
            OverlayWay::OrdinaryLayers => "overlay by mount(2) with ordinary layers",
        })?;
        write!(f, ", verity {}", self.verity)
    }
}
