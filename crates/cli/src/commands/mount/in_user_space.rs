//! `composefs mount --via=fuse`: mounts an image by a server in user space.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::ensure;
use libcomposefs_fuse::{MountRequest, MountedBy, Trust, may_mount};
use libcomposefs_image::Digest;
use libcomposefs_mount::{Atime, ImageFile, Plan, Verity};
use serde_json::json;

use super::MountArgs;
use super::report::{self, plan_json, shown};
use super::via::{ChosenWay, MountVerifier};
use crate::commands::fuse::{Service, ServicePart, read_image};
use crate::output;

/// Mounts the image as planned, or only prints the plan if the arguments say so. `digest` is the digest that the image
/// must have.
pub(super) fn carry_out(
    args: &MountArgs,
    plan: &Plan,
    image: &ImageFile,
    digest: Option<&Digest>,
) -> anyhow::Result<()> {
    let part = serve(args, plan, image, digest).inspect_err(|error| {
        if args.json {
            output::json(&json!({ "error": report::any_error_json(error) }));
        }
    })?;
    match part {
        Some(ServicePart::Server(result)) => result,
        Some(ServicePart::Caller(mounted_by)) => print(args, plan, mounted_by),
        None => Ok(()),
    }
}

/// Mounts the image, unless the arguments ask for the plan only.
fn serve(
    args: &MountArgs,
    plan: &Plan,
    image: &ImageFile,
    digest: Option<&Digest>,
) -> anyhow::Result<Option<ServicePart>> {
    ensure!(!plan.options().flags.nosymfollow, "nosymfollow cannot be used with --via=fuse: leave it out");
    ensure!(
        !args.insecure || plan.options().verity() == Verity::Off,
        "--insecure contradicts digest=, verity and the rules of the repository, which demand that files are \
         verified: leave one of them out"
    );
    if args.dry_run {
        if args.json {
            output::json(&json!({ "plan": plan_json(args, plan, ChosenWay::Fuse), "mounted": null }));
        } else {
            output::block(&described(args, plan, digest));
        }
        return Ok(None);
    }
    let (bytes, file) = read_image(image, digest)?;
    let mut service = Service::new("composefs", image.path(), bytes, file);
    service.basedirs = plan.options().basedirs.iter().map(|basedir| basedir.name().into_owned()).collect();
    service.trust = if args.insecure { Trust::Insecure } else { Trust::Verify };
    service.mount = request(&args.target, plan);
    service.run_in_background().map(Some)
}

fn described(args: &MountArgs, plan: &Plan, digest: Option<&Digest>) -> String {
    let digest = digest.map_or_else(
        || "its fs-verity digest is not checked".to_owned(),
        |digest| format!("the server computes its fs-verity digest, which must be {digest:?}"),
    );
    let mut text = format!("image    {}\n         {digest}\n", shown(&plan.image));
    text.push_str("fuse     the server has the image in memory\n");
    for basedir in &plan.options().basedirs {
        let _ = writeln!(text, "         objects in {}", shown(&basedir.name()));
    }
    text.push_str(match ChosenWay::Fuse.verified_by(args, plan) {
        MountVerifier::Unverified => "         files are not verified\n",
        _ => "         each block is verified by the server, a process of this user, when it is read\n",
    });
    let _ = writeln!(text, "mount    {} ({})", shown(&args.target), attributes(plan));
    text
}

/// Attributes of the mount, as the plan of a kernel mount shows them.
fn attributes(plan: &Plan) -> String {
    let mut flags = plan.options().flags;
    let attributes = request(Path::new(""), plan).attributes;
    (flags.nosuid, flags.nodev) = (attributes.nosuid, attributes.nodev);
    flags.to_string()
}

fn request(target: &Path, plan: &Plan) -> MountRequest {
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
fn print(args: &MountArgs, plan: &Plan, mounted_by: MountedBy) -> anyhow::Result<()> {
    if !args.json {
        return Ok(());
    }
    let program = match mounted_by {
        MountedBy::Program => "fusermount3",
        _ => "mount",
    };
    output::json(&json!({ "plan": plan_json(args, plan, ChosenWay::Fuse), "mounted": { "fuse": program } }));
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
