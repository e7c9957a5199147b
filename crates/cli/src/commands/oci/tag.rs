//! `composefs oci tag`: gives an OCI image another name.

use anyhow::bail;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_oci::stored::{StoredImage, image_stream};
use libcomposefs_repo::StreamTag;
use libcomposefs_trust::Moment;
use serde_json::json;

use super::{new_name, with_digest};
use crate::commands::repository::RepositoryArgs;
use crate::complete;
use crate::output;
use crate::trust::{ImageTrust, NamedImage};

/// Give an OCI image of a repository another name.
///
/// When the command returns, the name is on disk. Another image that has the name loses it. A name that commands would
/// take for something else is refused: a digest, a transport such as `oci:`, a path.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OciTagArgs {
    /// Image, by its name or by the digest of its manifest (sha256:HEX)
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::oci_names))]
    image: StreamTag,
    /// New name of the image
    #[arg(value_name = "NEW", add = ArgValueCompleter::new(complete::oci_names), value_parser = new_name::parse)]
    name: StreamTag,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images oci tag debian:13 debian:stable";

pub(super) fn run(args: &OciTagArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    let path = repository.path().display();
    let Some(stream) = image_stream(&repository, &args.image)? else {
        bail!("no OCI image is called {:?} in {path}; `composefs oci images` lists them", args.image.as_str());
    };
    let trust = ImageTrust::load()?;
    if !trust.policies().is_empty() {
        let (_, digest) = with_digest(StoredImage::by_name(&repository, &args.image)?, &args.image)?;
        trust.judge_stored(&repository, NamedImage { name: args.name.as_str(), digest }, Moment::FirstUse)?;
    }
    if !repository.tag_stream(&stream, &args.name)? {
        bail!("{} is a name of {stream}, but {path} has no such stream; pull the image again", args.image.as_str());
    }
    if args.json {
        output::json(&json!({ "name": args.name.as_str(), "stream": stream.as_str() }));
    }
    Ok(())
}
