//! What `push` and `export` share: options for new manifests, and the report.

use std::path::PathBuf;

use libcomposefs_oci::destination::{BlobOutcome, ImageDestination};
use libcomposefs_oci::push::{LayerCompression, NewManifestReason, PushOptions, PushedImage, push};
use libcomposefs_oci::stored::StoredImage;
use libcomposefs_repo::{Repository, StreamTag};
use serde_json::json;

use super::progress::LayerBars;
use crate::interrupt::Interrupt;
use crate::output;

/// Options for manifests that differ from those of the repository.
#[derive(clap::Args)]
pub(super) struct NewManifestArgs {
    /// Compress the layers anew: the configuration stays the same, the manifest is new
    #[arg(long, help_heading = "New manifests")]
    recompress: bool,
    /// Compression of new layers: none, gzip[:1-9] or zstd[:1-19] [default: gzip:6]
    #[arg(long, value_name = "KIND", requires = "recompress", help_heading = "New manifests")]
    compression: Option<LayerCompression>,
    /// Add the digest of the composefs image to the manifest, which is new then. Not for an image that others are built
    /// on: podman build and buildah copy the annotation, which is wrong there
    #[arg(long, help_heading = "New manifests")]
    annotate: bool,
}

impl NewManifestArgs {
    /// Returns the options of a push. Temporary files of new layers are in `spool`.
    pub(super) fn options(&self, spool: PathBuf, interrupt: &Interrupt) -> PushOptions {
        let mut options = PushOptions::new(spool);
        options.recompress = self.recompress.then(|| self.compression.unwrap_or_default());
        options.annotate = self.annotate;
        options.cancelled = interrupt.flag();
        options
    }
}

/// Gives an image to a destination, and reports it.
pub(super) fn send(
    repository: &Repository,
    name: &StreamTag,
    destination: &dyn ImageDestination,
    options: &PushOptions,
    as_json: bool,
) -> anyhow::Result<()> {
    let image = StoredImage::by_name(repository, name)?;
    let bars = LayerBars::default();
    let pushed = push(repository, &image, destination, options, &bars)?;
    drop(bars);
    if as_json {
        output::json(&report(&pushed, name, &destination.describe()));
        return Ok(());
    }
    let count = |outcome| pushed.layers.iter().filter(|layer| layer.outcome == outcome).count();
    match &pushed.manifest {
        Some(manifest) if !pushed.renewed.is_empty() => {
            let reasons: Vec<&str> = pushed.renewed.iter().map(reason).collect();
            out!("manifest  {manifest}, new: {}", reasons.join(", "));
            out!("original  {}, the manifest in the repository", pushed.original);
        }
        Some(manifest) => out!("manifest  {manifest}"),
        None => out!("manifest  none: {} has none", destination.describe()),
    }
    out!("config    {}", pushed.config);
    if let Some((key, value)) = &pushed.annotation {
        out!("annotated {key}={value}");
    }
    out!("to        {}", destination.describe());
    out!(
        "layers    {}: {} sent, {} mounted, {} present",
        pushed.layers.len(),
        count(BlobOutcome::Sent),
        count(BlobOutcome::Mounted),
        count(BlobOutcome::Present)
    );
    Ok(())
}

fn reason(reason: &NewManifestReason) -> &'static str {
    match reason {
        NewManifestReason::Recompressed => "the layers were compressed anew",
        NewManifestReason::Annotated => "an annotation was added",
        NewManifestReason::Converted => "it was a manifest of docker, and is an OCI manifest now",
        _ => "it was changed",
    }
}

fn report(pushed: &PushedImage, name: &StreamTag, destination: &str) -> serde_json::Value {
    let layers = pushed.layers.iter().map(|layer| {
        json!({
            "diff_id": layer.diff_id.to_string(),
            "digest": layer.digest.to_string(),
            "size": layer.size,
            "outcome": match layer.outcome {
                BlobOutcome::Present => "present",
                BlobOutcome::Mounted => "mounted",
                _ => "sent",
            },
        })
    });
    let annotation = pushed.annotation.as_ref().map(|(key, value)| json!({ "key": key, "value": value }));
    json!({
        "name": name.as_str(),
        "destination": destination,
        "manifest": pushed.manifest.map(|digest| digest.to_string()),
        "original_manifest": pushed.original.to_string(),
        "new_manifest": pushed.renewed.iter().map(reason).collect::<Vec<_>>(),
        "config": pushed.config.to_string(),
        "annotation": annotation,
        "layers": layers.collect::<Vec<_>>(),
    })
}
