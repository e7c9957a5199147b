//! `composefs untag`: removes names from images.

use anyhow::bail;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_repo::cold::is_base_name;
use libcomposefs_repo::{RefName, Repository, RepositoryError, StreamTag};
use serde_json::json;

use super::RepositoryArgs;
use crate::complete;
use crate::output;

/// Remove names from images of a repository.
///
/// An untagged image is removed by the next gc, unless it is mounted or younger than the grace.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UntagArgs {
    /// Names to remove from images
    #[arg(value_name = "REF", required = true, add = ArgValueCompleter::new(complete::refs))]
    names: Vec<RefName>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images untag debian/12
  composefs --repo=/srv/images untag old older && composefs --repo=/srv/images gc";

pub(crate) fn run(args: &UntagArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    for name in &args.names {
        if is_base_name(name) {
            bail!(
                "{name} keeps the base of a cold image: unpack that image, or remove its own names and run gc, which \
                 removes this one too"
            );
        }
        let digest = repository.untag(name).map_err(|error| of_oci(&repository, name, error))?;
        if args.json {
            output::json_line(&json!({ "untagged": name.as_str(), "digest": digest.map(|digest| digest.to_hex()) }));
        }
    }
    Ok(())
}

/// Names the other command if the name is that of an OCI image.
fn of_oci(repository: &Repository, name: &RefName, error: RepositoryError) -> anyhow::Error {
    let is_tag =
        name.as_str().parse().is_ok_and(|tag: StreamTag| matches!(repository.resolve_stream_tag(&tag), Ok(Some(_))));
    let error = anyhow::Error::from(error);
    if is_tag {
        error.context(format!("{name} is the name of an OCI image: `composefs oci untag` removes it"))
    } else {
        error
    }
}
