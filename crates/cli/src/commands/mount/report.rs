//! Report of `composefs mount`: plan, result and error, as text or JSON.

use std::path::Path;

use anyhow::anyhow;
use libcomposefs_mount::{ErofsMethod, Error, Mounted, OverlayMethod, PathOrFd, Plan, StatfsSource, Verity};
use serde_json::{Value, json};

use super::MountArgs;
use super::via::ChosenWay;
use crate::error_text;
use crate::output;

/// Prints the result. If the report of a mount cannot be printed, unmounts the image and returns an error.
pub(super) fn print(args: &MountArgs, plan: &Plan, mounted: Option<&Mounted>) -> anyhow::Result<()> {
    if args.json {
        output::json(
            &json!({ "plan": plan_json(args, plan, ChosenWay::Kernel), "mounted": mounted.map(mounted_json) }),
        );
        if let (Err(unwritable), Some(_)) = (output::flush(), mounted) {
            let target = args.target.display();
            match unmount(args) {
                Ok(()) => tell!("composefs: {target} is unmounted again, because the report cannot be printed"),
                Err(error) => tell!("composefs: the report cannot be printed, and {target} stays mounted: {error}"),
            }
            return Err(unwritable.into());
        }
    } else if mounted.is_none() {
        let text = if args.image_only {
            format!("{}\n", plan.describe_image_only(Some(&args.target), shown))
        } else {
            plan_text(plan, &args.target)
        };
        output::block(&text);
    }
    Ok(())
}

fn unmount(args: &MountArgs) -> anyhow::Result<()> {
    if args.image_only {
        return Ok(libcomposefs_sys::mount::unmount(&args.target, false)?);
    }
    Ok(libcomposefs_mount::umount(&args.target, false)?)
}

/// Returns the error with its remedy, after printing it as JSON if the arguments say so.
pub(super) fn error(args: &MountArgs, error: &Error) -> anyhow::Error {
    if args.json {
        output::json(&json!({ "error": error_json(error) }));
    }
    with_remedy(error)
}

/// Formats a plan as text. Newlines in paths are escaped, so that a path cannot start a line.
pub(crate) fn plan_text(plan: &Plan, target: &Path) -> String {
    format!("{}\n", plan.describe(Some(target), shown))
}

pub(super) fn shown(path: &Path) -> String {
    output::escaped(&path.to_string_lossy())
}

/// Returns the error with its remedy on a line of its own.
pub(crate) fn with_remedy(error: &Error) -> anyhow::Error {
    match error.remedy() {
        Some(remedy) => error_text::with_remedy(error, remedy),
        None => anyhow!("{error}"),
    }
}

fn error_json(error: &Error) -> Value {
    json!({ "kind": error.kind(), "message": error.to_string(), "remedy": error.remedy() })
}

/// Returns an error that has no kind of its own.
pub(super) fn any_error_json(error: &anyhow::Error) -> Value {
    json!({ "kind": "user-space", "message": error_text::message(error), "remedy": error_text::remedy(error) })
}

/// Converts a path to text. Bytes that are not UTF-8 become U+FFFD, since JSON strings cannot contain them.
pub(super) fn plan_json(args: &MountArgs, plan: &Plan, way: ChosenWay) -> Value {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let name = |dir: &PathOrFd| path(&dir.name());
    let options = plan.options();
    json!({
        "image": path(&plan.image),
        "target": path(&args.target),
        "via": way.name(),
        "verified_by": way.verified_by(args, plan).name(),
        "digest": options.digest().map(|digest| {
            json!({ "algorithm": digest.algorithm().name(), "hex": digest.to_hex() })
        }),
        "signed": options.is_signed(),
        "acl": plan.acl,
        "readahead": options.read_ahead.bytes(),
        "idmap": options.idmap.as_ref().map(name),
        "basedirs": options.basedirs.iter().map(name).collect::<Vec<_>>(),
        "upperdir": options.upper.as_ref().map(|upper| name(&upper.dir)),
        "workdir": options.upper.as_ref().map(|upper| name(&upper.work)),
        "verity": match options.verity() { Verity::RequireIfSupported => "try", other => verity_word(other) },
        "statfs": match (way, options.statfs) { (ChosenWay::Kernel, StatfsSource::Image) => "image", _ => "objects" },
        "attributes": options.flags.to_string(),
    })
}

pub(super) fn mounted_json(mounted: &Mounted) -> Value {
    json!({
        "erofs": match &mounted.erofs {
            ErofsMethod::Loop(path) => path.to_string_lossy(),
            _ => "file".into(),
        },
        "overlay": match mounted.overlay {
            OverlayMethod::Detached => Some("detached"),
            OverlayMethod::Mountpoint => Some("mountpoint"),
            OverlayMethod::OneText => Some("mount2"),
            OverlayMethod::OrdinaryLayers => Some("mount2-ordinary-layers"),
            _ => None,
        },
        "verity": verity_word(mounted.verity),
    })
}

fn verity_word(verity: Verity) -> &'static str {
    verity.overlay_value().unwrap_or("off")
}
