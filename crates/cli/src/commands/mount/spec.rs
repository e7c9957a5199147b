//! `composefs mount --print-spec`: the mounts for another program.

use std::ffi::OsStr;

use anyhow::Context as _;
use libcomposefs_mount::{ImageFile, MountSpec, Plan};
use serde_json::{Value, json};

use super::{MountArgs, with_remedy};
use crate::output;

/// Prints the mounts. The other program verifies neither the digest of the image nor its signature: that is done here.
pub(super) fn print(args: &MountArgs, plan: &Plan, image: &ImageFile) -> anyhow::Result<()> {
    image.check(plan.options()).map_err(|error| with_remedy(&error))?;
    let specs = if args.image_only { vec![plan.image_spec(&args.target)?] } else { plan.specs(&args.target)? };
    let specs = specs.iter().map(to_json).collect::<anyhow::Result<Vec<_>>>()?;
    output::json(&specs);
    Ok(())
}

/// Returns a mount as defined by the OCI runtime specification.
fn to_json(spec: &MountSpec) -> anyhow::Result<Value> {
    Ok(json!({
        "destination": text(spec.target.as_os_str())?,
        "type": spec.fs_type,
        "source": text(&spec.source)?,
        "options": spec.options.iter().map(|option| text(option)).collect::<anyhow::Result<Vec<_>>>()?,
    }))
}

fn text(word: &OsStr) -> anyhow::Result<&str> {
    word.to_str().with_context(|| format!("{} is not UTF-8 text, which JSON needs", word.display()))
}
