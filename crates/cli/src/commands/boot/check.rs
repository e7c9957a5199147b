//! `composefs boot check`: checks the booted image.

use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use super::booted::BootedImage;
use super::objects::check_objects;
use crate::commands::repository::{NameOperand, RepositoryArgs};
use crate::{complete, output};

/// Check that the booted image, or another one, is whole: all its objects are in the repository, and have fs-verity.
///
/// No content is read. Objects need fs-verity if the repository demands it, and those of the booted image also if the
/// boot required it. The unit composefs-check.service runs this before boot-complete.target, so that a boot loader that
/// counts attempts falls back to an older entry if an object is missing.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckBootArgs {
    /// Image, by name or digest [default: the booted image]
    #[arg(value_name = "REF|DIGEST", add = ArgValueCompleter::new(complete::images))]
    image: Option<NameOperand>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs boot check
  composefs --repo=/srv/images boot check os/2 --json

Exit status: 0 if the image is whole, 1 if it is not, on failure, or without an image if the system was not booted from
one.";

pub(super) fn run(args: &CheckBootArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let (repository, digest, is_required) = match &args.image {
        Some(image) => {
            let repository = selected.open()?;
            let digest = repository.resolve(&image.resolve_bootable(&repository, selected.names())?.image)?;
            (repository, digest, false)
        }
        None => {
            let booted = BootedImage::find().context(
                "this system was not booted from an image: /run/composefs/boot.json is missing, and / is no composefs \
                 mount",
            )?;
            (selected.open()?, booted.digest, booted.verity.as_deref() == Some("require"))
        }
    };
    let reader = repository.reader()?;
    let _held = reader.protect(&[digest])?;
    let tree = repository.tree_of_image(&digest)?;
    let needs_verity = is_required || repository.demands_verity();
    let check = check_objects(&repository, &digest, &tree, needs_verity, &AtomicBool::new(false))?;
    if args.json {
        output::json(&json!({
            "digest": digest.to_hex(),
            "verity": needs_verity,
            "objects": check.count,
            "wrong": check.wrong,
            "problems": check.problems,
            "sound": check.wrong == 0,
        }));
        return Ok(check.wrong == 0);
    }
    for problem in &check.problems {
        out!("{problem}");
    }
    let demanded = if needs_verity { "with fs-verity" } else { "without a check of fs-verity" };
    out!("{digest}: {} of {} objects correct, {demanded}", check.count - check.wrong, check.count);
    Ok(check.wrong == 0)
}
