//! `composefs oci verify`: reads an image of a repository again and compares all digests.

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_oci::stored::{StoredImage, stream_name, verify_layer};
use libcomposefs_oci::stream::StreamKind;
use libcomposefs_repo::StreamTag;
use serde_json::json;

use crate::commands::repository::{RepositoryArgs, counted};
use crate::complete;
use crate::output;

/// Read an OCI image of a repository again, and compare all digests.
///
/// The manifest and the configuration are compared with the digests that name them, each layer, with all contents of
/// its files, with its diff ID. A digest says that an image is what its manifest says, not who made it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OciVerifyArgs {
    /// Image, by its name
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::oci_names))]
    name: StreamTag,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images oci verify debian:13

Exit status: 0 if everything is as it must be, 1 if not.";

pub(super) fn run(args: &OciVerifyArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let repository = selected.open()?;
    let reader = repository.reader()?;
    if let Some(stream) = repository.resolve_stream_tag(&args.name)?
        && let Some(digest) = repository.stream(&stream)?
    {
        reader.protect(&[digest])?;
    }
    let image = StoredImage::by_tag(&repository, &args.name)?;
    let mut wrong = Vec::new();
    for diff_id in &image.config.diff_ids {
        let name = stream_name(StreamKind::Layer(*diff_id));
        let result = match repository.stream(&name)? {
            None => Err("the repository does not have it".to_owned()),
            Some(digest) => verify_layer(&repository, &digest, diff_id).map(drop).map_err(|error| error.to_string()),
        };
        if let Err(reason) = result {
            wrong.push((diff_id.to_string(), reason));
        }
    }
    drop(reader);
    if args.json {
        let wrong = wrong.iter().map(|(layer, error)| json!({ "layer": layer, "error": error }));
        output::json(&json!({
            "name": args.name.as_str(),
            "manifest": image.manifest.digest.to_string(),
            "layers": image.config.diff_ids.len(),
            "wrong": wrong.collect::<Vec<_>>(),
        }));
    } else {
        for (layer, reason) in &wrong {
            tell!("composefs: layer {layer}: {reason}");
        }
        if wrong.is_empty() {
            let layers = counted(image.config.diff_ids.len() as u64, "layer");
            out!("{}: manifest, configuration and {layers} are right", args.name);
        }
    }
    Ok(wrong.is_empty())
}
