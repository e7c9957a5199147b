//! `composefs oci untag`: removes a name of an OCI image.

use anyhow::bail;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_repo::StreamTag;
use serde_json::json;

use crate::commands::repository::RepositoryArgs;
use crate::complete;
use crate::output;

/// Remove a name of an OCI image.
///
/// An image without a name stays until the next gc.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OciUntagArgs {
    /// Name to remove
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::oci_names))]
    name: StreamTag,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images oci untag debian:12";

pub(super) fn run(args: &OciUntagArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    let stream = repository.resolve_stream_tag(&args.name)?;
    if !repository.untag_stream(&args.name)? {
        let path = repository.path().display();
        bail!("no OCI image is called {:?} in {path}; `composefs oci images` lists them", args.name.as_str());
    }
    if args.json {
        output::json(&json!({ "untagged": args.name.as_str(), "stream": stream.map(|name| name.to_string()) }));
    }
    Ok(())
}
