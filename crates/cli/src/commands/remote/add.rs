//! `composefs remote add`: gives a remote a name in a repository.

use libcomposefs_repo::{RemoteEntry, RemoteName};
use serde_json::json;

use super::operand::RemoteOperand;
use crate::commands::repository::RepositoryArgs;
use crate::output;

/// Give a remote a name in the repository.
///
/// The location is stored without being looked at. Passwords and tokens are not stored: they come from the environment,
/// ~/.netrc or an agent, as the kind of remote has it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RemoteAddArgs {
    /// Name of the remote: letters, digits, `-`, `_` and `.`
    #[arg(value_name = "NAME")]
    name: RemoteName,
    /// Location: a URL, or a directory written with `/` or `./`
    #[arg(value_name = "URL")]
    location: RemoteOperand,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images remote add backup /mnt/backup/images
  composefs --repo=/srv/images remote add site https://images.example.org/composefs";

pub(super) fn run(args: &RemoteAddArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    let url = args.location.to_store()?;
    repository.add_remote(&args.name, &RemoteEntry::new(url.clone()))?;
    if args.json {
        output::json(&json!({ "name": args.name.as_str(), "url": url }));
    }
    Ok(())
}
