//! `composefs oci verify`: reads an image of a repository again and compares all digests.

use std::ffi::OsString;
use std::io;

use anyhow::Context as _;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Digest;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::blob::open_blob;
use libcomposefs_oci::check_images::{CheckedImage, ImageCheck, check_images};
use libcomposefs_oci::manifest::BlobRef;
use libcomposefs_oci::stored::{StoredImage, image_stream, stream_name, verify_layer};
use libcomposefs_oci::stream::StreamKind;
use libcomposefs_repo::{Repository, StreamTag};
use serde_json::{Value, json};

use super::bootable::boot_tree;
use super::source::{self, SourceArgs};
use super::{signature_policy, verify_source};
use crate::commands::repository::{RepositoryArgs, counted};
use crate::complete;
use crate::output;

/// Read an OCI image of a repository again, and compare all digests; or ask policy.json about an image elsewhere.
///
/// The manifest and the configuration are compared with the digests that name them, each layer, with all contents of
/// its files, with its diff ID, and what was kept of its compressed blob with the digest of that. The composefs images,
/// of the whole file system, bootable, and of single layers, are made again of the layers and compared. A digest says
/// that an image is what its manifest says, not who made it: that is for the policy.json that `oci pull` obeys. The
/// command says if that file is missing. Of an image in a registry or a layout (docker://REFERENCE, oci:DIR:NAME) the
/// manifest and the configuration are read, and nothing is stored: the command says by which keys the manifest is
/// signed, and by which rule `oci pull` accepts or refuses it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OciVerifyArgs {
    /// Image, by its name or by the digest of its manifest (sha256:HEX), or a source with its transport
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::oci_names))]
    name: OsString,
    #[command(flatten)]
    origin: SourceArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images oci verify debian:13
  composefs oci verify docker://registry.example/app:2

Exit status: 0 if everything is as it must be, 1 if not.";

pub(super) fn run(args: &OciVerifyArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    if source::has_transport(&args.name) {
        return verify_source::run(&args.name, &args.origin, args.json).map(|()| true);
    }
    let name = args.name.to_str().context("the name is not UTF-8")?;
    let name: StreamTag = name.parse().with_context(|| format!("{name:?} is no name of an image"))?;
    run_stored(&name, args.json, selected)
}

fn run_stored(name: &StreamTag, as_json: bool, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let repository = selected.open()?;
    let policy = signature_policy::file()?;
    let reader = repository.reader()?;
    if let Some(stream) = image_stream(&repository, name)?
        && let Some(digest) = repository.stream(&stream)?
    {
        reader.protect(&[digest])?;
    }
    let image = StoredImage::by_name(&repository, name)?;
    let wrong = wrong_layers(&repository, &image)?;
    // Of wrong layers another image is made.
    let images = if wrong.is_empty() { Some(check_images(&repository, &image, Some(boot_tree))) } else { None };
    drop(reader);
    let (images, failed) = match images {
        Some(Ok(images)) => (images, None),
        Some(Err(error)) => (Vec::new(), Some(error.to_string())),
        None => (Vec::new(), None),
    };
    let is_wrong = |checked: &&CheckedImage| matches!(checked.found, ImageCheck::Other(_) | ImageCheck::Damaged(_));
    let is_right = wrong.is_empty() && failed.is_none() && !images.iter().any(|checked| is_wrong(&checked));
    if as_json {
        let wrong = wrong.iter().map(|(layer, error)| json!({ "layer": layer, "error": error }));
        output::json(&json!({
            "name": name.as_str(),
            "manifest": image.manifest.digest.to_string(),
            "layers": image.config.diff_ids.len(),
            "policy": policy.as_ref().map(|path| path.display().to_string()),
            "wrong": wrong.collect::<Vec<_>>(),
            "images": images.iter().map(image_json).collect::<Vec<_>>(),
            "error": failed,
        }));
        return Ok(is_right);
    }
    for (layer, reason) in &wrong {
        tell!("composefs: layer {layer}: {reason}");
    }
    if let Some(reason) = failed {
        tell!("composefs: the composefs images cannot be made again: {reason}");
    }
    images.iter().for_each(tell_of_image);
    if is_right {
        let layers = counted(image.config.diff_ids.len() as u64, "layer");
        let right = images.iter().filter(|checked| checked.found == ImageCheck::Right).count();
        let right = counted(right as u64, "composefs image");
        out!("{name}: manifest, configuration, {layers} and {right} are right");
        if policy.is_none() {
            out!("no policy.json: who made the image was not checked, `oci pull` accepts the images of everyone");
        }
    }
    Ok(is_right)
}

/// Returns the diff IDs of layers that are not as they must be, each with the reason.
fn wrong_layers(repository: &Repository, image: &StoredImage) -> anyhow::Result<Vec<(String, String)>> {
    let mut wrong = Vec::new();
    for (blob, diff_id) in image.manifest.layers.iter().zip(&image.config.diff_ids) {
        let name = stream_name(StreamKind::Layer(*diff_id));
        let result = match repository.stream(&name)? {
            None => Err("the repository does not have it".to_owned()),
            Some(digest) => {
                let layer = verify_layer(repository, &digest, diff_id).map_err(|error| error.to_string());
                layer.and_then(|_| verify_blob(repository, blob, diff_id))
            }
        };
        if let Err(reason) = result {
            wrong.push((diff_id.to_string(), reason));
        }
    }
    Ok(wrong)
}

/// Reads the blob that the repository can give of a layer, and compares its size and digest.
fn verify_blob(repository: &Repository, blob: &BlobRef, diff_id: &BlobDigest) -> Result<(), String> {
    let damaged =
        |error: &dyn std::fmt::Display| format!("its kept blob {}: {error}; pull the image again", blob.digest);
    match open_blob(repository, blob, diff_id) {
        Ok(None) => Ok(()),
        Ok(Some(mut input)) => io::copy(&mut input, &mut io::sink()).map(drop).map_err(|error| damaged(&error)),
        Err(error) => Err(damaged(&error)),
    }
}

fn tell_of_image(CheckedImage { name, digest, found }: &CheckedImage) {
    match found {
        ImageCheck::Right => {}
        ImageCheck::Other(made) => {
            tell!(
                "composefs: {name}: the composefs image is {digest}, but the layers give {made}; pull the image again"
            );
        }
        ImageCheck::Damaged(reason) => tell!("composefs: {name}: {reason}; pull the image again"),
        _ => tell!("composefs: {name}: the image {digest} was not compared: only the program that made it can"),
    }
}

fn image_json(CheckedImage { name, digest, found }: &CheckedImage) -> Value {
    let (state, made, error) = match found {
        ImageCheck::Right => ("right", Some(digest), None),
        ImageCheck::Other(made) => ("wrong", Some(made), None),
        ImageCheck::Damaged(reason) => ("damaged", None, Some(reason)),
        _ => ("unchecked", None, None),
    };
    json!({
        "image": name,
        "digest": digest.to_hex(),
        "state": state,
        "made": made.map(Digest::to_hex),
        "error": error,
    })
}
