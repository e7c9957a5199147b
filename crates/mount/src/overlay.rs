//! Joining image and objects with overlayfs through a mount context (Linux 6.5; layers one by one since 6.7).

use libcomposefs_sys::mount::{FsContext, MountError, MountFd};
use rustix::io::Errno;

use crate::erofs::ErofsMount;
use crate::failure::Failure;
use crate::layer::Layers;
use crate::method::{KernelFeatures, OverlayMethod};
use crate::mountpoint::TemporaryMountpoint;
use crate::options::Verity;
use crate::plan::Plan;
use crate::probe::Overlayfs;

/// The lowest layer, and with it the method that is tried.
enum Lower<'a> {
    Descriptor(&'a MountFd),
    Path(&'a std::path::Path),
}

/// The layers, joined as far as this kernel does it without a target.
pub(crate) enum Joined {
    /// An overlay that is attached nowhere.
    Detached(MountFd, OverlayMethod),
    /// The image at a path. The overlay must be made with `mount(2)`, which needs a target.
    NeedsTarget(TemporaryMountpoint),
}

/// Joins the layers to one detached mount.
pub(crate) fn join_layers(
    plan: &Plan,
    erofs: ErofsMount,
    layers: &Layers,
    overlayfs: Overlayfs,
    verity: Verity,
    allowed: KernelFeatures,
) -> Result<Joined, Failure> {
    let contexts = overlayfs.contexts && allowed.contexts && allowed.overlay_contexts;
    if contexts
        && allowed.detached
        && let ErofsMount::Detached(image) = &erofs
    {
        match join(plan, &Lower::Descriptor(image), layers, verity) {
            // 6.12 takes no descriptor as a layer, 6.13 and 6.14 none of a mount that is attached nowhere.
            Err(error) if error.errno == Errno::INVAL => {}
            answer => return Ok(Joined::Detached(answer?, OverlayMethod::Detached)),
        }
    }
    let at = erofs.into_path(plan)?;
    if contexts {
        match join(plan, &Lower::Path(at.path()), layers, verity) {
            // 6.5 and 6.6 have contexts, but no option for a single layer.
            Err(error) if error.errno == Errno::INVAL && error.step.starts_with("fsconfig(lowerdir+=") => {}
            answer => return Ok(Joined::Detached(answer?, OverlayMethod::Mountpoint)),
        }
    }
    Ok(Joined::NeedsTarget(at))
}

fn join(plan: &Plan, lower: &Lower<'_>, layers: &Layers, verity: Verity) -> Result<MountFd, MountError> {
    let context = FsContext::open("overlay")?;
    context.set_string("source", &plan.source)?;
    context.set_string("metacopy", "on")?;
    context.set_string("redirect_dir", "on")?;
    if let Some(value) = verity.overlay_value() {
        context.set_string("verity", value)?;
    }
    if let Some(layer) = &layers.statfs {
        layer.set(&context, "lowerdir+")?;
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
    context.mount(plan.options().flags.mount_attr_flags())
}
