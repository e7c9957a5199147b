//! `composefs oci inspect`: shows the manifest, the configuration and the layers of an image.

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Digest;
use libcomposefs_oci::annotation::is_composefs_key;
use libcomposefs_oci::blob::{BlobKind, blob_kind};
use libcomposefs_oci::stored::StoredImage;
use libcomposefs_oci::stored_layer_images::stored_layer_images;
use libcomposefs_repo::{Repository, StreamTag};
use serde_json::{Value, json};

use super::blob_kind as shown;
use crate::commands::repository::RepositoryArgs;
use crate::complete;
use crate::output;

/// Show an OCI image of a repository: its digests, layers, annotations and configuration.
///
/// For each layer it says whether the repository can give the compressed blob back byte for byte: exact if the blob is
/// the uncompressed layer, rebuildable with the size of the record, whole if the blob was kept, or not here.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OciInspectArgs {
    /// Image, by its name or by the digest of its manifest (sha256:HEX)
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::oci_names))]
    name: StreamTag,
    /// Print the manifest or the configuration as it was pulled, byte for byte
    #[arg(long, value_name = "DOCUMENT", value_parser = ["manifest", "config"], conflicts_with = "json")]
    raw: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images oci inspect debian:13
  composefs --repo=/srv/images oci inspect debian:13 --raw=manifest | sha256sum";

pub(super) fn run(args: &OciInspectArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    let image = StoredImage::by_name(&repository, &args.name)?;
    match args.raw.as_deref() {
        Some("manifest") => return print_raw(&image.manifest.raw),
        Some(_) => return print_raw(&image.config.raw),
        None => {}
    }
    if args.json {
        output::json(&report(args, &repository, &image)?);
        return Ok(());
    }
    let (manifest, config) = (&image.manifest, &image.config);
    out!("name      {}", args.name);
    out!("manifest  {} ({})", manifest.digest, manifest.media_type);
    out!("config    {}", config.digest);
    out!("platform  {}/{}", config.parsed.os(), config.parsed.architecture());
    for named in &image.images {
        out!("image     {} ({})", named.digest, named.name);
    }
    for (key, value) in manifest.annotations.iter().filter(|(key, _)| is_composefs_key(key)) {
        out!("annotated {key}={value}");
    }
    let layer_images = stored_layer_images(&repository, &image)?.unwrap_or_default();
    for (number, (layer, diff_id)) in manifest.layers.iter().zip(&config.diff_ids).enumerate() {
        out!("layer {:<3} {diff_id}", number + 1);
        out!("  blob    {} {} bytes ({})", layer.digest, layer.size, layer.media_type);
        out!("  blob is {}", shown::text(blob_kind(&repository, layer, diff_id)?));
        if let Some(image) = layer_images.get(number) {
            out!("  image   {image}");
        }
        for (key, value) in layer.annotations.iter().filter(|(key, _)| is_composefs_key(key)) {
            out!("  annotated {key}={value}");
        }
    }
    Ok(())
}

fn print_raw(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = output::text();
    std::io::Write::write_all(&mut out, bytes)?;
    Ok(std::io::Write::flush(&mut out)?)
}

fn report(args: &OciInspectArgs, repository: &Repository, image: &StoredImage) -> anyhow::Result<Value> {
    let manifest = &image.manifest;
    let layers = manifest.layers.iter().zip(&image.config.diff_ids);
    let kinds: Result<Vec<BlobKind>, _> =
        layers.clone().map(|(layer, diff_id)| blob_kind(repository, layer, diff_id)).collect();
    let layer_images = stored_layer_images(repository, image)?.unwrap_or_default();
    let layers = layers.zip(kinds?).enumerate().map(|(number, ((layer, diff_id), kind))| {
        json!({
            "digest": layer.digest.to_string(),
            "diff_id": diff_id.to_string(),
            "size": layer.size,
            "media_type": layer.media_type,
            "blob": shown::json(kind),
            "image": layer_images.get(number).map(Digest::to_hex),
            "annotations": layer.annotations,
        })
    });
    let images = image.images.iter().map(|named| json!({ "ref": named.name, "digest": named.digest.to_hex() }));
    Ok(json!({
        "name": args.name.as_str(),
        "manifest": manifest.digest.to_string(),
        "media_type": manifest.media_type,
        "annotations": manifest.annotations,
        "config": image.config.digest.to_string(),
        "configuration": serde_json::from_slice::<Value>(&image.config.raw)?,
        "images": images.collect::<Vec<_>>(),
        "layers": layers.collect::<Vec<_>>(),
    }))
}
