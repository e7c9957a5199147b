//! `composefs tag`: gives an image another name.

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_repo::{ImageName, RefName};
use serde_json::json;

use super::{NameOperand, RepositoryArgs};
use crate::complete;
use crate::output;
use crate::trust::{self, NamedImage};

/// Give an image of a repository another name.
///
/// When the command returns, the name is on disk. Another image that has the name loses it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TagArgs {
    /// Image, by name or digest
    #[arg(value_name = "REF|DIGEST", add = ArgValueCompleter::new(complete::images))]
    image: NameOperand,
    /// New name of the image
    #[arg(value_name = "REF", add = ArgValueCompleter::new(complete::refs))]
    name: RefName,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images tag debian/13 current
  composefs --repo=/srv/images tag 029cc8af231b4d76c3618cc37232dc590a33379e838d927f542e18455ca5e655 debian/12";

pub(crate) fn run(args: &TagArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    let image = args.image.resolve(&repository, selected.names())?.image;
    let digest = repository.resolve(&image)?;
    trust::admit(&repository, NamedImage { name: args.name.as_str(), digest })?;
    let (digest, replaced) = repository.tag(&ImageName::Digest(digest), &args.name)?;
    if args.json {
        let replaced = replaced.map(|digest| digest.to_hex());
        output::json(&json!({ "digest": digest.to_hex(), "name": args.name.as_str(), "replaced": replaced }));
    }
    Ok(())
}
