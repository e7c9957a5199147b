//! A lazy mount by the kernel: overlayfs looks into the objects of the repository, a layer that gets the object, the
//! directory of objects that have just arrived, and a layer that says that the object cannot be read.
//!
//! The process that was called mounts, in its own namespaces. The [`Holder`] keeps the layers that are served, and the
//! worker gets objects. Each object has its digest before it has a name; afterwards the kernel verifies it, if the
//! repository demands fs-verity.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, bail};
use libcomposefs_fuse::FuseLayer;
use libcomposefs_image::Digest;
use libcomposefs_mount::{ImageFile, KernelFeatures, Mounted, PathOrFd, Plan, Verity};
use libcomposefs_repo::Repository;
use libcomposefs_sys::background::{self, BackgroundPart};
use serde_json::{Value, json};

use super::holder::Holder;
use super::setup::{FetchedImage, SetupPart, fetch};
use super::worker::WorkerTask;
use super::{LazyMount, LazyWay};
use crate::commands::fuse::device_number;
use crate::commands::mount::report::{mounted_json, plan_json};
use crate::commands::mount::repository_image::{compare, demanded};
use crate::commands::mount::self_test::{SelfTest, TestFailureKind};
use crate::commands::mount::via::{ChosenWay, Via};
use crate::commands::mount::{MountPart, with_remedy};
use crate::commands::repository::tell_of_waiting;
use crate::error_text;
use crate::output;
use crate::rlimits;

/// Chooses the way of a lazy mount. What only the kernel can do is left to it, after a pull if it has no lazy mounts.
pub(super) fn choose(via: Via, needs_kernel: Option<&str>) -> anyhow::Result<LazyWay> {
    let is_kernels = match via {
        Via::Fuse => false,
        Via::Kernel | Via::Overlay => true,
        Via::Auto => ChosenWay::of_caller() == ChosenWay::Kernel || needs_kernel.is_some(),
    };
    let refused = if is_kernels { SelfTest::LazyLayers.result().err() } else { None };
    let may_be_whole = via == Via::Auto && ChosenWay::of_caller() == ChosenWay::Kernel;
    let kind = refused.as_ref().map(|failure| failure.kind);
    let refused = refused.map(|failure| failure.reason);
    match (refused, needs_kernel) {
        (Some(reason), None) if may_be_whole && kind == Some(TestFailureKind::NextLayer) => Ok(LazyWay::Whole(reason)),
        (Some(reason), Some(option)) if may_be_whole => {
            Ok(LazyWay::Whole(format!("{option} needs the kernel's mount, and {reason}")))
        }
        (None, _) if is_kernels => Ok(LazyWay::Overlay),
        (Some(reason), None) if via != Via::Auto => Err(error_text::with_remedy(
            format_args!("this process cannot mount lazily by overlayfs: {reason}"),
            "use --via=fuse, or `composefs pull` and then the mount",
        )),
        (Some(reason), Some(option)) => Err(error_text::with_remedy(
            format_args!(
                "{option} needs the kernel's mount, and this process cannot mount lazily by overlayfs: {reason}"
            ),
            "leave the option out, or use `composefs pull` and then the mount",
        )),
        (None, Some(option)) => bail!("{option} cannot be used with --via=fuse: it needs the kernel's mount"),
        _ => Ok(LazyWay::ImageServer),
    }
}

/// Mounts, and returns the part of the process.
pub(super) fn run(mount: &LazyMount<'_>) -> anyhow::Result<MountPart> {
    rlimits::allow_open_files();
    let image = match fetch(mount)? {
        SetupPart::Fetcher(result) => return Ok(MountPart::Server(result)),
        SetupPart::Caller(image) => image,
    };
    let path = mount.selected.open()?.path().canonicalize().context("cannot find the repository")?;
    let repository = Repository::open(&path)?.telling(tell_of_waiting);
    let digest = image.document.image.digest;
    // Until the image is mounted. The holder and the worker have leases of their own.
    let lease = repository.lease()?;
    lease.protect(&[digest])?;
    let objects = objects_of(&repository, &digest)?;
    let arrived = repository.arrived_objects()?;
    let layer = || FuseLayer::new().map_err(|error| error_text::with_remedy(&error, "use --via=fuse"));
    let (trigger_device, trigger) = layer()?;
    let (reason_device, reason) = layer()?;
    let (mut ours, theirs) = UnixStream::pair().context("cannot create a socket")?;
    match background::split().context("cannot start a process for the holder")? {
        BackgroundPart::Background(report) => {
            // The overlay keeps its layers. Without it, the sessions end at once.
            drop((trigger, reason, ours));
            let FetchedImage { document, index } = *image;
            let task = WorkerTask::new(mount, path, document, index, objects);
            let holder = Holder { task, target: mount.args.target.clone(), mounted: theirs, report };
            Ok(MountPart::Server(holder.run(trigger_device, reason_device)))
        }
        BackgroundPart::Foreground(waiting) => {
            // If the holder ends, the kernel must not wait for its answers.
            drop((trigger_device, reason_device, theirs));
            if let Some(status) = waiting.wait()? {
                // The holder or the worker has printed the reason.
                std::process::exit(if status == 0 { 1 } else { status });
            }
            let (plan, file) = planned(mount, &repository, &digest, [&trigger, &reason], arrived.path())?;
            let mounted = plan.mount_at(&file, &mount.args.target, KernelFeatures::default());
            let mounted = mounted.map_err(|error| with_remedy(&error))?;
            if let Ok((major, minor)) = device_number(&mount.args.target) {
                let number = [major.to_le_bytes(), minor.to_le_bytes()].concat();
                // `composefs status` finds the mount when the holder has answered.
                let _ = ours.write_all(&number).and_then(|()| ours.read(&mut [0]));
            }
            print(mount, &plan, &mounted)?;
            Ok(MountPart::Caller)
        }
    }
}

/// Returns the objects of an image that must be fetched, with their sizes.
pub(super) fn objects_of(repository: &Repository, digest: &Digest) -> anyhow::Result<HashMap<Digest, u64>> {
    let tree = repository.tree_of_image(digest)?;
    Ok(tree.objects().filter(|object| object.size > 0).map(|object| (object.digest, object.size)).collect())
}

/// Returns the plan of the mount, and the image.
pub(super) fn planned(
    mount: &LazyMount<'_>,
    repository: &Repository,
    digest: &Digest,
    [trigger, reason]: [&FuseLayer; 2],
    arrived: &Path,
) -> anyhow::Result<(Plan, ImageFile)> {
    let file = repository.open_image(digest)?;
    let image = ImageFile::from_fd(file, &repository.objects().path_of(digest));
    let options = demanded(repository, &image, mount.options.clone(), digest).map_err(|error| with_remedy(&error))?;
    compare(repository, &image, digest)?;
    let header = image.header().map_err(|error| with_remedy(&error))?;
    let served = |layer: &FuseLayer| anyhow::Ok(PathOrFd::from(layer.root()?));
    let options = options.with_basedir(repository.objects().path()).with_basedir(served(trigger)?);
    let options = options.with_basedir(arrived).with_basedir(served(reason)?);
    Ok((Plan::new(image.path(), &header, options).named_by(digest), image))
}

/// Prints the result. If it cannot be printed, the image is unmounted again.
fn print(mount: &LazyMount<'_>, plan: &Plan, mounted: &Mounted) -> anyhow::Result<()> {
    if !mount.args.json {
        return Ok(());
    }
    let mut text = plan_json(mount.args, plan, ChosenWay::Overlay);
    text["verified_by"] = verified_by(plan.options().verity() == Verity::Require);
    let layers = &mut text["basedirs"];
    (layers[1], layers[3]) = ("(trigger)".into(), "(reason)".into());
    text["lazy"] = mount.lazy_json();
    output::json(&json!({ "plan": text, "mounted": mounted_json(mounted) }));
    if let Err(unwritable) = output::flush() {
        libcomposefs_mount::umount(&mount.args.target, false)?;
        return Err(unwritable.into());
    }
    Ok(())
}

/// Returns who verifies contents: the kernel at each read, or the worker once, before an object has a name.
pub(super) fn verified_by(is_by_kernel: bool) -> Value {
    if is_by_kernel { "kernel".into() } else { "fetch".into() }
}
