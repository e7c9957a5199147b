//! `composefs oci images`: lists the OCI images of a repository.

use std::io::Write;

use libcomposefs_oci::stored::StoredImage;
use serde_json::json;

use crate::commands::repository::RepositoryArgs;
use crate::output;

/// List the OCI images of a repository.
///
/// Prints the name, the digest of the manifest, the number of layers and the digest of the composefs image, below a
/// line with the titles of these columns.
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
    let mut rows = vec![["NAME", "MANIFEST", "LAYERS", "IMAGE"].map(str::to_owned)];
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
            let digest = digest.unwrap_or_else(|| "no image".to_owned());
            rows.push([tag.to_string(), image.manifest.digest.to_string(), layers.to_string(), digest]);
        }
    }
    if args.json {
        output::json(&json!({ "images": list }));
    } else if !args.quiet {
        print_rows(&mut out, &rows)?;
    }
    out.flush()?;
    Ok(is_whole)
}

/// Prints rows of names, digests and numbers below each other.
fn print_rows(out: &mut impl Write, rows: &[[String; 4]]) -> std::io::Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (names, manifests, layers) = (width(0), width(1), width(2));
    for [name, manifest, count, image] in rows {
        writeln!(out, "{name:names$}  {manifest:manifests$}  {count:>layers$}  {image}")?;
    }
    Ok(())
}
