//! `composefs oci mount`: mounts the file system of an OCI image.

use std::ffi::OsString;
use std::path::PathBuf;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_repo::StreamTag;

use super::stored_image;
use crate::commands::mount::MountArgs;
use crate::commands::repository::RepositoryArgs;
use crate::complete;

/// Mount the whole file system of an OCI image.
///
/// The kernel verifies the image and every file in it, unless the repository does not use fs-verity. `composefs umount`
/// unmounts it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OciMountArgs {
    /// Image, by its name
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::oci_names))]
    name: StreamTag,
    /// Directory to mount the image at
    #[arg(value_name = "DIR")]
    target: PathBuf,
    /// Mount options of `composefs mount`, separated by commas; may be given several times
    #[arg(short, long, value_name = "OPTIONS")]
    options: Vec<OsString>,
    /// Print what would be mounted, and mount nothing
    #[arg(long)]
    dry_run: bool,
    /// Print plan, result and error as JSON; if that cannot be printed, nothing stays mounted
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images oci mount debian:13 /mnt
  composefs --repo=/srv/images oci mount debian:13 /mnt -o upperdir=changes,workdir=work
  podman run --rootfs /mnt:O ls /";

pub(super) fn run(args: &OciMountArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    let (_, digest) = stored_image(&repository, &args.name)?;
    let mount = MountArgs::of_repository(digest, &args.target, &args.options, args.dry_run, args.json);
    mount.run_in(&repository)
}
