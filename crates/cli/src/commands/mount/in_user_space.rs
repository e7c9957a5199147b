//! `composefs mount --via=fuse` and `--via=overlay`: mounts an image by a server in user space.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use libcomposefs_fuse::{MountRequest, MountedBy, OverlayRequest, Trust, may_mount};
use libcomposefs_image::Digest;
use libcomposefs_mount::{Atime, ImageFile, PathOrFd, Plan, Verity};
use serde_json::json;

use super::report::{self, plan_json, shown};
use super::via::{ChosenWay, MountVerifier, layer_verifier};
use super::{MountArgs, MountPart};
use crate::commands::fuse::{Service, ServicePart, read_image};
use crate::output;

/// Mounts the image as planned, or only prints the plan if the arguments say so. `digest` is the digest that the image
/// must have.
pub(super) fn carry_out(
    args: &MountArgs,
    plan: &Plan,
    image: &ImageFile,
    digest: Option<&Digest>,
    way: ChosenWay,
) -> anyhow::Result<MountPart> {
    let part = serve(args, plan, image, digest, way).inspect_err(|error| {
        if args.json {
            output::json(&json!({ "error": report::any_error_json(error) }));
        }
    })?;
    match part {
        Some(ServicePart::Server(result)) => Ok(MountPart::Server(result)),
        Some(ServicePart::Caller(mounted_by)) => print(args, plan, mounted_by, way).map(|()| MountPart::Caller),
        None => Ok(MountPart::Caller),
    }
}

/// Mounts the image, unless the arguments ask for the plan only.
fn serve(
    args: &MountArgs,
    plan: &Plan,
    image: &ImageFile,
    digest: Option<&Digest>,
    way: ChosenWay,
) -> anyhow::Result<Option<ServicePart>> {
    ensure!(!plan.options().flags.nosymfollow, "nosymfollow cannot be used with --via={}: leave it out", way.name());
    ensure!(
        !args.insecure || plan.options().verity() == Verity::Off,
        "--insecure contradicts digest=, verity and the rules of the repository, which demand that files are \
         verified: leave one of them out"
    );
    if args.dry_run {
        if args.json {
            output::json(&json!({ "plan": plan_json(args, plan, way), "mounted": null }));
        } else {
            output::block(&described(args, plan, digest, way));
        }
        return Ok(None);
    }
    if plan.options().is_signed() {
        image.check_signature().map_err(|error| report::with_remedy(&error))?;
    }
    let (bytes, file) = read_image(image, digest)?;
    let mut service = Service::new("composefs", image.path(), bytes, file);
    service.basedirs = plan.options().basedirs.iter().map(|basedir| basedir.name().into_owned()).collect();
    service.trust = if args.insecure { Trust::Insecure } else { Trust::Verify };
    service.mount = request(&args.target, plan);
    service.trace.clone_from(&args.trace);
    match way {
        ChosenWay::Overlay => service.run_layers(layers(&args.target, plan)?, layer_verifier(plan)),
        _ => service.run_in_background(),
    }
    .map(Some)
}

fn described(args: &MountArgs, plan: &Plan, digest: Option<&Digest>, way: ChosenWay) -> String {
    let digest = digest.map_or_else(
        || "its fs-verity digest is not checked".to_owned(),
        |digest| format!("the server computes its fs-verity digest, which must be {digest:?}"),
    );
    let mut text = format!("image    {}\n         {digest}\n", shown(&plan.image));
    if plan.options().is_signed() {
        text.push_str("         the kernel must have verified a signature of it\n");
    }
    text.push_str("fuse     the server has the image in memory\n");
    let verifier = way.verified_by(args, plan);
    let objects = match (way, verifier) {
        (ChosenWay::Overlay, MountVerifier::Kernel) => "datadir+=",
        (ChosenWay::Overlay, _) => "datadir+=served objects of ",
        _ => "objects in ",
    };
    if way == ChosenWay::Overlay {
        text.push_str("overlay  userxattr\n         lowerdir+=served names and metadata of the image\n");
    }
    for basedir in &plan.options().basedirs {
        let _ = writeln!(text, "         {objects}{}", shown(&basedir.name()));
    }
    if let Some(upper) = &plan.options().upper {
        let _ = writeln!(text, "         upperdir={}", shown(&upper.dir.name()));
        let _ = writeln!(text, "         workdir={}", shown(&upper.work.name()));
    }
    text.push_str(match verifier {
        MountVerifier::Unverified => "         files are not verified\n",
        MountVerifier::Kernel => "         verity=require: the kernel verifies each block when it is read\n",
        _ => "         each block is verified by the server, a process of this user, when it is read\n",
    });
    let _ = writeln!(text, "mount    {} ({})", shown(&args.target), attributes(plan, way));
    text
}

/// Returns the overlay that the plan stands for. Its paths are looked up now: the server has another working directory.
fn layers(target: &Path, plan: &Plan) -> anyhow::Result<OverlayRequest> {
    let fuse = request(target, plan);
    let mut request = OverlayRequest::new(target);
    (request.source, request.attributes) = (fuse.source, fuse.attributes);
    let flags = &plan.options().flags;
    (request.attributes.nosuid, request.attributes.nodev) = (flags.nosuid, flags.nodev);
    if let Some(upper) = &plan.options().upper {
        let find = |dir: &PathOrFd| {
            let name = dir.name();
            name.canonicalize().with_context(|| format!("cannot open the directory {}", name.display()))
        };
        request.upper = Some((find(&upper.dir)?, find(&upper.work)?));
    }
    Ok(request)
}

/// Attributes of the mount, as the plan of a kernel mount shows them.
fn attributes(plan: &Plan, way: ChosenWay) -> String {
    let mut flags = plan.options().flags;
    if way == ChosenWay::Overlay {
        return flags.to_string();
    }
    let attributes = request(Path::new(""), plan).attributes;
    (flags.nosuid, flags.nodev) = (attributes.nosuid, attributes.nodev);
    flags.to_string()
}

pub(super) fn request(target: &Path, plan: &Plan) -> MountRequest {
    let (flags, is_root) = (&plan.options().flags, may_mount());
    let mut request = MountRequest::new(target);
    request.source.clone_from(&plan.source);
    // As the kernel's mount, which all users see. Another user needs the permission of /etc/fuse.conf for that.
    request.allow_other = is_root;
    request.attributes.nosuid = flags.nosuid || !is_root;
    request.attributes.nodev = flags.nodev || !is_root;
    request.attributes.noexec = flags.noexec;
    request.attributes.noatime = flags.atime == Atime::Never;
    request
}

/// Prints the result. If it cannot be printed, the image is unmounted again.
fn print(args: &MountArgs, plan: &Plan, mounted_by: MountedBy, way: ChosenWay) -> anyhow::Result<()> {
    if !args.json {
        return Ok(());
    }
    let program = match mounted_by {
        MountedBy::Program => "fusermount3",
        _ => "mount",
    };
    let mounted = match way {
        ChosenWay::Overlay => json!({ "overlay": "userxattr" }),
        _ => json!({ "fuse": program }),
    };
    output::json(&json!({ "plan": plan_json(args, plan, way), "mounted": mounted }));
    if let Err(unwritable) = output::flush() {
        let target = args.target.display();
        match mounted_by.unmount(&args.target, false) {
            Ok(()) => tell!("composefs: {target} is unmounted again, because the report cannot be printed"),
            Err(error) => tell!("composefs: the report cannot be printed, and {target} stays mounted: {error}"),
        }
        return Err(unwritable.into());
    }
    Ok(())
}
