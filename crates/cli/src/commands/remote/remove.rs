//! `composefs remote remove`: forgets the name of a remote.

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_repo::RemoteName;
use serde_json::json;

use crate::commands::repository::RepositoryArgs;
use crate::{complete, output};

/// Forget the name of a remote.
///
/// The remote itself, and the images that came from it, stay what they are.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RemoteRemoveArgs {
    /// Name of the remote
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::remotes))]
    name: RemoteName,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images remote remove backup";

pub(super) fn run(args: &RemoteRemoveArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    selected.open()?.remove_remote(&args.name)?;
    if args.json {
        output::json(&json!({ "removed": args.name.as_str() }));
    }
    Ok(())
}
