//! Joining image and objects with overlayfs through a mount context (Linux 6.5; layers one by one since 6.7).

use std::os::fd::{AsFd as _, OwnedFd};

use libcomposefs_sys::mount::{DetachedMount, FsContext, MountError};
use rustix::io::Errno;

use crate::erofs::ErofsMount;
use crate::failure::Failure;
use crate::layer::Layers;
use crate::legacy;
use crate::method::{Allowed, OverlayWay};
use crate::options::Verity;
use crate::plan::Plan;
use crate::probe::Overlayfs;

/// The lowest layer, and with it the way that is tried.
enum Lower<'a> {
    Descriptor(&'a DetachedMount),
    Path(&'a std::path::Path),
}

/// Joins the layers and attaches the mount at the open directory `target`.
pub(crate) fn mount(
    plan: &Plan,
    erofs: ErofsMount,
    layers: &Layers,
    target: &OwnedFd,
    overlayfs: Overlayfs,
    verity: Verity,
    allowed: Allowed,
) -> Result<OverlayWay, Failure> {
    let contexts = overlayfs.contexts && allowed.contexts && allowed.overlay_contexts;
    if contexts
        && allowed.detached
        && let ErofsMount::Detached(image) = &erofs
    {
        match join(plan, &Lower::Descriptor(image), layers, verity) {
            // 6.12 takes no descriptor as a layer, 6.13 and 6.14 none of a mount that is attached nowhere.
            Err(error) if error.errno == Errno::INVAL => {}
            answer => {
                answer?.attach_to(target.as_fd(), &plan.target)?;
                return Ok(OverlayWay::Detached);
            }
        }
    }
    let at = erofs.into_path(plan)?;
    if contexts {
        match join(plan, &Lower::Path(at.path()), layers, verity) {
            // 6.5 and 6.6 have contexts, but no option for a single layer.
            Err(error) if error.errno == Errno::INVAL && error.step.starts_with("fsconfig(lowerdir+=") => {}
            answer => {
                answer?.attach_to(target.as_fd(), &plan.target)?;
                return Ok(OverlayWay::Mountpoint);
            }
        }
    }
    legacy::mount(plan, at.path(), layers, target, overlayfs, verity)
}

fn join(plan: &Plan, lower: &Lower<'_>, layers: &Layers, verity: Verity) -> Result<DetachedMount, MountError> {
    let context = FsContext::open("overlay")?;
    context.set_string("source", &plan.source)?;
    context.set_string("metacopy", "on")?;
    context.set_string("redirect_dir", "on")?;
    if let Some(value) = verity.overlay_value() {
        context.set_string("verity", value)?;
    }
    match lower {
        Lower::Descriptor(image) => context.set_fd("lowerdir+", image.root()?)?,
        Lower::Path(path) => context.set_string("lowerdir+", path)?,
    }
    for layer in &layers.data {
        layer.set(&context, "datadir+")?;
    }
    if let Some((upper, work)) = &layers.upper {
        upper.set(&context, "upperdir")?;
        work.set(&context, "workdir")?;
    }
    context.create()?;
    context.mount(plan.attributes.mount_attr_flags())
}
