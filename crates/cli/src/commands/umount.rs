//! `composefs umount`: unmounts a composefs image.

use std::path::PathBuf;

use anyhow::anyhow;
use serde_json::json;

use crate::error_text::with_remedy;
use crate::output;

/// Unmount a composefs image.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  composefs umount /mnt
  composefs umount --lazy /mnt      # while programs still use it")]
pub(crate) struct UmountArgs {
    /// Directory that the image is mounted at
    #[arg(value_name = "DIR")]
    target: PathBuf,

    /// Detach the mount at once, and release it when its last user ends
    #[arg(long)]
    lazy: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &UmountArgs) -> anyhow::Result<()> {
    libcomposefs_mount::umount(&args.target, args.lazy).map_err(|error| match error.remedy() {
        Some(remedy) => with_remedy(error, remedy),
        None => anyhow!(error),
    })?;
    if args.json {
        output::json(&json!({ "unmounted": args.target.to_string_lossy() }));
    }
    Ok(())
}
