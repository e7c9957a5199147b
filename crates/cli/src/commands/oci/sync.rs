//! `composefs sync --oci`: copies OCI images from another repository.

use std::path::Path;

use libcomposefs_oci::pull::{AnnotationRule, PullOptions, pull};
use libcomposefs_oci::source::RepositorySource;
use libcomposefs_oci::stored::{StoredError, StoredImage};
use libcomposefs_oci::stored_layer_images::stored_layer_images;
use libcomposefs_repo::{Repository, RepositoryError, StreamTag};
use serde_json::{Value, json};

use super::bootable::boot_tree;
use super::progress::LayerBars;
use super::warnings;
use crate::commands::oci::pull::name_if_accepted;
use crate::commands::repository::{copy_signatures, counted, tell_of_waiting};
use crate::inspect::size::human;
use crate::trust::ImageTrust;

/// What was done for one image: a line, and an object for `--json`.
pub(crate) struct CopiedImage {
    pub(crate) line: String,
    pub(crate) json: Value,
}

/// Copies the image with this tag from the repository at `other`, or only says what would be done. Nothing of that
/// repository is trusted: the layers are compared with their digests, and the composefs image is made from them here.
pub(crate) fn copy(
    repository: &Repository,
    other: &Path,
    tag: &StreamTag,
    is_dry_run: bool,
) -> anyhow::Result<CopiedImage> {
    let source = RepositorySource::open(Repository::open(other)?.telling(tell_of_waiting), Some(tag.as_str()))?;
    let manifest = source.image().manifest.digest;
    let mut images = Vec::new();
    let has_all = match StoredImage::by_tag(repository, tag) {
        Ok(here) => {
            images = here.image().into_iter().chain(here.boot_image()).collect();
            let has_image = here.image().map(|image| repository.has_image(&image)).transpose()?;
            // What cannot be read is written anew.
            let lacks_layers =
                source.has_layer_images() && !matches!(stored_layer_images(repository, &here), Ok(Some(_)));
            let has_boot_image = here.boot_image().map(|image| repository.has_image(&image)).transpose()?;
            let lacks_boot_image = source.image().boot_image().is_some() && has_boot_image != Some(true);
            here.manifest.digest == manifest && has_image == Some(true) && !lacks_layers && !lacks_boot_image
        }
        // It is written anew, or missing.
        Err(StoredError::Repository(error @ RepositoryError::Io { .. })) => return Err(error.into()),
        Err(_) => false,
    };
    let lacks_blobs = has_all && source.has_blobs_missing_in(repository)?;
    let is_done = has_all && !lacks_blobs;
    let mut json = json!({ "name": tag.as_str(), "oci": true, "manifest": manifest.to_string() });
    json["done"] = (!is_dry_run || is_done).into();
    if is_done || is_dry_run {
        let what = match (is_done, lacks_blobs) {
            (true, _) => "up to date",
            (false, true) => "what was kept of its compressed blobs",
            (false, false) => "the image and missing objects",
        };
        let mut line = format!("{manifest} {tag}: {what}");
        if is_done && !is_dry_run {
            // They may have been signed since they were copied.
            copy_signatures(repository, &Repository::open(other)?, &images, &mut line, &mut json)?;
        }
        return Ok(CopiedImage { line, json });
    }
    let mut options = PullOptions::default();
    let trust = ImageTrust::load()?;
    // What a policy may refuse gets its name only after the digest of its composefs image is known.
    let is_judged = !trust.policies().is_empty();
    options.tags = if is_judged { Vec::new() } else { vec![tag.clone()] };
    options.per_layer = source.has_layer_images();
    // The other repository has the image, so it was accepted there.
    options.annotations = AnnotationRule::Warn;
    options.bootable = source.image().boot_image().map(|_| boot_tree as _);
    let bars = LayerBars::default();
    let pulled = pull(repository, &source, &options, &bars)?;
    drop(bars);
    warnings::tell(&pulled.warnings);
    for image in [Some(pulled.image), pulled.boot_image].into_iter().flatten() {
        repository.copy_signatures(&Repository::open(other)?, &image)?;
    }
    if is_judged {
        name_if_accepted(repository, &trust, &pulled, tag)?;
    }
    json["image"] = pulled.image.to_hex().into();
    if let Some(image) = pulled.boot_image {
        json["boot_image"] = image.to_hex().into();
    }
    json["objects"] = json!({ "new": pulled.new_objects, "bytes": pulled.new_bytes });
    let (objects, bytes) = (counted(pulled.new_objects, "object"), human(pulled.new_bytes));
    Ok(CopiedImage { line: format!("{manifest} {tag}: {objects} copied, {bytes}"), json })
}
