//! `composefs oci tag`: gives an OCI image another name.

use anyhow::bail;
use libcomposefs_repo::StreamTag;

use crate::commands::repository::RepositoryArgs;

/// Give an OCI image of a repository another name.
///
/// When the command returns, the name is on disk. Another image that has the name loses it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OciTagArgs {
    /// Image, by its name
    #[arg(value_name = "NAME")]
    image: StreamTag,
    /// New name of the image
    #[arg(value_name = "NEW")]
    name: StreamTag,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images oci tag debian:13 debian:stable";

pub(super) fn run(args: &OciTagArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    let path = repository.path().display();
    let Some(stream) = repository.resolve_stream_tag(&args.image)? else {
        bail!("no OCI image is called {} in {path}; `composefs oci images` lists them", args.image);
    };
    if !repository.tag_stream(&stream, &args.name)? {
        bail!("{} is a name of {stream}, but {path} has no such stream; pull the image again", args.image);
    }
    Ok(())
}
