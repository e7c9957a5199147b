//! `composefs oci untag`: removes a name of an OCI image.

use anyhow::bail;
use libcomposefs_repo::StreamTag;

use crate::commands::repository::RepositoryArgs;

/// Remove a name of an OCI image.
///
/// An image without a name stays until the next gc.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OciUntagArgs {
    /// Name to remove
    #[arg(value_name = "NAME")]
    name: StreamTag,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images oci untag debian:12";

pub(super) fn run(args: &OciUntagArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    if !repository.untag_stream(&args.name)? {
        bail!("no OCI image is called {} in {}", args.name, repository.path().display());
    }
    Ok(())
}
