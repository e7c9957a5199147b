//! `composefs oci layers`: lists the layers of an image of a repository.

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_oci::stored::{StoredImage, image_stream};
use libcomposefs_oci::stored_layers::{StoredLayer, stored_layers};
use libcomposefs_repo::StreamTag;
use serde_json::json;

use crate::commands::repository::RepositoryArgs;
use crate::complete;
use crate::inspect::size::SizeFormat;
use crate::output;

/// List the layers of an OCI image of a repository, the lowest first.
///
/// Prints for each layer the sizes of its blob and of its uncompressed archive (TAR), the numbers of entries of the
/// archive and of the objects that it needs, the size of these objects (BYTES), and the size of those that other images
/// of the repository need too (SHARED): other OCI images, and images with a ref. Below are the diff ID, the digest and
/// media type of the blob, and the command that made the layer.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OciLayersArgs {
    /// Image, by its name or by the digest of its manifest (sha256:HEX)
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::oci_names))]
    name: StreamTag,
    /// Print sizes with units, such as 1.2M
    #[arg(short = 'H', long)]
    human: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images oci layers debian:13 --human
  composefs --repo=/srv/images oci layers debian:13 --json | jq '.layers[] | .bytes - .shared'";

pub(super) fn run(args: &OciLayersArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    let reader = repository.reader()?;
    if let Some(stream) = image_stream(&repository, &args.name)?
        && let Some(digest) = repository.stream(&stream)?
    {
        reader.protect(&[digest])?;
    }
    let image = StoredImage::by_name(&repository, &args.name)?;
    let layers = stored_layers(&repository, &image)?;
    drop(reader);
    if args.json {
        let layers = layers.iter().enumerate().map(layer_json).collect::<Vec<_>>();
        let manifest = image.manifest.digest.to_string();
        output::json(&json!({ "name": args.name.as_str(), "manifest": manifest, "layers": layers }));
        return Ok(());
    }
    let size = |bytes: u64| SizeFormat::human(args.human).show(bytes);
    out!(
        "{:>5} {:>12} {:>12} {:>9} {:>9} {:>12} {:>12}",
        "LAYER",
        "BLOB",
        "TAR",
        "ENTRIES",
        "OBJECTS",
        "BYTES",
        "SHARED"
    );
    for (number, layer) in layers.iter().enumerate() {
        let [blob, tar, bytes, shared] = [layer.blob.size, layer.size, layer.bytes, layer.shared].map(size);
        let StoredLayer { entries, objects, .. } = layer;
        let number = number + 1;
        out!("{number:>5} {blob:>12} {tar:>12} {entries:>9} {objects:>9} {bytes:>12} {shared:>12}");
        out!("      diff ID {}", layer.diff_id);
        out!("      blob    {} ({})", layer.blob.digest, layer.blob.media_type);
        if let Some(command) = &layer.created_by {
            out!("      by      {command}");
        }
    }
    Ok(())
}

fn layer_json((number, layer): (usize, &StoredLayer)) -> serde_json::Value {
    json!({
        "number": number + 1,
        "diff_id": layer.diff_id.to_string(),
        "digest": layer.blob.digest.to_string(),
        "media_type": layer.blob.media_type,
        "compressed_size": layer.blob.size,
        "size": layer.size,
        "entries": layer.entries,
        "objects": layer.objects,
        "bytes": layer.bytes,
        "shared": layer.shared,
        "created_by": layer.created_by,
    })
}
