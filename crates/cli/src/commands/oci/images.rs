//! `composefs oci images`: lists the OCI images of a repository.

use std::io::Write;

use libcomposefs_oci::stored::StoredImage;
use serde_json::json;

use crate::commands::repository::RepositoryArgs;
use crate::output;

/// List the OCI images of a repository.
///
/// Prints the name, the digest of the manifest, the number of layers and the digest of the composefs image.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OciImagesArgs {
    /// Print only the names, one per line
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images oci images
  composefs --repo=/srv/images oci images --json | jq -r '.images[].name'

Exit status: 0, or 1 if an image cannot be read.";

pub(super) fn run(args: &OciImagesArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let repository = selected.open()?;
    let (mut list, mut out, mut is_whole) = (Vec::new(), output::text(), true);
    for (tag, stream) in repository.stream_tags()? {
        if args.quiet {
            writeln!(out, "{tag}")?;
            continue;
        }
        let image = match StoredImage::by_tag(&repository, &tag) {
            Ok(image) => image,
            Err(error) => {
                tell!("composefs: {tag}: {error}");
                is_whole = false;
                list.push(json!({ "name": tag.as_str(), "stream": stream.as_str(), "error": error.to_string() }));
                continue;
            }
        };
        let digest = image.image().map(|digest| digest.to_hex());
        let layers = image.manifest.layers.len();
        if args.json {
            list.push(json!({
                "name": tag.as_str(),
                "manifest": image.manifest.digest.to_string(),
                "config": image.config.digest.to_string(),
                "layers": layers,
                "image": digest,
            }));
        } else {
            let digest = digest.as_deref().unwrap_or("no image");
            writeln!(out, "{tag} {} {layers:>3} {digest}", image.manifest.digest)?;
        }
    }
    if args.json {
        output::json(&json!({ "images": list }));
    }
    out.flush()?;
    Ok(is_whole)
}
