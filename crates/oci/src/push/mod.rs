//! Giving an image of a repository to a destination: blobs in parallel, then the manifest, which names it
//! (`docs/format/oci.md`, section 4).

mod exact_blob;
mod layer_archive;
mod new_manifest;
mod plan;
mod recompress;
mod send;
mod watched;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libcomposefs_repo::{Repository, RepositoryError};

pub use recompress::LayerCompression;

use crate::BlobDigest;
use crate::annotation::merged_image_key;
use crate::destination::{BlobOutcome, DestinationError, ImageDestination, LayerForm};
use crate::manifest::{BlobRef, Manifest};
use crate::stored::{IMAGE_REF_V1, StoredError, StoredImage};

/// Options of a push.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PushOptions {
    /// New blobs with this compression, instead of those that the manifest names.
    pub recompress: Option<LayerCompression>,
    /// Adds the digest of the composefs image to the manifest.
    pub annotate: bool,
    /// Directory for temporary files with new blobs.
    pub spool: PathBuf,
    /// Number of layers that are sent at once.
    pub parallel: usize,
    /// Set when the push shall end.
    pub cancelled: Arc<AtomicBool>,
}

impl PushOptions {
    /// Returns the usual options. `spool` is a directory for temporary files with new blobs.
    #[must_use]
    pub fn new(spool: PathBuf) -> Self {
        Self { recompress: None, annotate: false, spool, parallel: 3, cancelled: Arc::default() }
    }
}

/// Is told about the progress of a push, from several threads.
pub trait PushProgress: Sync {
    /// The layer of this number begins. `size` is the number of bytes that will be read.
    fn layer(&self, _number: usize, _diff_id: &BlobDigest, _size: u64) {}
    /// A layer was read up to this position, which becomes smaller when a transfer starts again.
    fn position(&self, _number: usize, _bytes: u64) {}
    /// A layer ended.
    fn done(&self, _number: usize) {}
}

/// Reports no progress.
#[derive(Clone, Copy, Debug)]
pub struct NoPushProgress;

impl PushProgress for NoPushProgress {}

/// A layer of an image that was pushed.
#[derive(Clone, Debug)]
pub struct PushedLayer {
    /// The digest of the uncompressed archive.
    pub diff_id: BlobDigest,
    /// The digest of the blob at the destination.
    pub digest: BlobDigest,
    /// The size of the blob at the destination, in bytes.
    pub size: u64,
    /// The way in which the blob came there.
    pub outcome: BlobOutcome,
}

/// An image that was pushed.
#[derive(Debug)]
pub struct PushedImage {
    /// The manifest at the destination; `None` if it has no manifests.
    pub manifest: Option<BlobDigest>,
    /// The manifest in the repository.
    pub original: BlobDigest,
    /// Why the manifest is new, if it is.
    pub renewed: Vec<NewManifestReason>,
    /// The configuration.
    pub config: BlobDigest,
    /// The layers, the lowest first.
    pub layers: Vec<PushedLayer>,
    /// The annotation that was asked for.
    pub annotation: Option<(String, String)>,
}

/// The reasons why a destination has another manifest than the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NewManifestReason {
    /// The layers were compressed anew.
    Recompressed,
    /// An annotation was added.
    Annotated,
    /// The manifest was one of docker, and the destination stores only OCI manifests.
    Converted,
}

/// A layer whose blob neither the destination nor the repository has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingBlob {
    /// The number of the layer, from 1.
    pub number: usize,
    /// The blob.
    pub blob: BlobRef,
    /// The digest of the uncompressed archive, which the repository has.
    pub diff_id: BlobDigest,
}

/// The reasons why an image cannot be pushed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// Blobs are neither at the destination nor in the repository. Nothing was sent.
    #[error("{}", missing(destination, *count, layers))]
    Missing {
        /// The destination.
        destination: String,
        /// The number of layers of the image.
        count: usize,
        /// The layers.
        layers: Vec<MissingBlob>,
    },
    /// A layer of the repository has another content than its diff ID says.
    #[error(
        "layer {number} of {count}: the archive in the repository has the digest {found}, not {expected}: pull the \
         image again"
    )]
    Archive {
        /// The number of the layer, from 1.
        number: usize,
        /// The number of layers.
        count: usize,
        /// The diff ID.
        expected: BlobDigest,
        /// The digest of the archive.
        found: BlobDigest,
    },
    /// A layer cannot be compressed.
    #[error("layer {number} of {count}: cannot compress {diff_id} into a temporary file in {directory}: {source}")]
    Compress {
        /// The number of the layer, from 1.
        number: usize,
        /// The number of layers.
        count: usize,
        /// The diff ID.
        diff_id: BlobDigest,
        /// The directory of temporary files.
        directory: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The image has no digest for an annotation.
    #[error(
        "--annotate: the image has no composefs image of format version 1, for which there is an annotation; pull it \
         into a repository of format 0 or 1"
    )]
    NoImage,
    /// The destination has no manifest.
    #[error("{0} has uncompressed layers and no manifest: use neither --recompress nor --annotate with it")]
    NoManifest(String),
    /// The manifest cannot be changed.
    #[error("the manifest {digest} cannot be changed: {reason}")]
    Manifest {
        /// The digest of the manifest.
        digest: BlobDigest,
        /// The reason.
        reason: String,
    },
    /// The push was cancelled.
    #[error("interrupted: the image has no name at the destination")]
    Cancelled,
    /// The destination has failed.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// A stream of the image cannot be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

fn missing(destination: &str, count: usize, layers: &[MissingBlob]) -> String {
    let list = layers.iter().map(|layer| {
        let MissingBlob { number, blob, .. } = layer;
        format!("layer {number} ({}, {} bytes, {})", blob.digest, blob.size, blob.media_type)
    });
    format!(
        "{destination} does not have the blobs of {} of {count} layers, and the repository has only their uncompressed \
         archives: {}; nothing was sent; `--recompress` sends new blobs, with the same configuration and another \
         manifest; after `composefs oci pull --whole --keep-blobs=whole` the repository can give the blobs",
        layers.len(),
        list.collect::<Vec<_>>().join(", ")
    )
}

/// Gives an image to a destination. The blobs of all layers are found before the first one is sent.
///
/// # Errors
///
/// If neither the destination nor the repository has a blob, or the destination refuses something. The image has no
/// name there then.
pub fn push(
    repository: &Repository,
    image: &StoredImage,
    destination: &dyn ImageDestination,
    options: &PushOptions,
    progress: &dyn PushProgress,
) -> Result<PushedImage, PushError> {
    if destination.layer_form() == LayerForm::Archives && (options.recompress.is_some() || options.annotate) {
        return Err(PushError::NoManifest(destination.describe()));
    }
    let annotation = options.annotate.then(|| annotation(image)).transpose()?;
    let annotation = annotation.filter(|(key, value)| image.manifest.annotations.get(key) != Some(value));
    let reader = repository.reader()?;
    let plan = plan::plan(&reader, image, destination, options)?;
    let sent = send::send(&plan, destination, options, progress)?;
    let (manifest, renewed) = manifest(image, &sent, destination, options, annotation.as_ref())?;
    if destination.layer_form() == LayerForm::Blobs {
        let (digest, raw) = (&image.config.digest, &image.config.raw);
        send::put_bytes(destination, digest, raw, options)?;
    }
    options.check()?;
    destination.publish(&manifest, &image.config)?;
    let layers = image.config.diff_ids.iter().zip(&sent);
    Ok(PushedImage {
        manifest: (destination.layer_form() == LayerForm::Blobs).then_some(manifest.digest),
        original: image.manifest.digest,
        renewed,
        config: image.config.digest,
        layers: layers.map(|(diff_id, sent)| sent.pushed(*diff_id)).collect(),
        annotation: options.annotate.then(|| self::annotation(image)).transpose()?,
    })
}

/// Returns the annotation with the digest of the composefs image.
fn annotation(image: &StoredImage) -> Result<(String, String), PushError> {
    let named = image.images.iter().find(|named| named.name == IMAGE_REF_V1).ok_or(PushError::NoImage)?;
    Ok((merged_image_key(named.digest.algorithm()), named.digest.to_hex()))
}

/// Returns the manifest for the destination, and why it is new.
fn manifest(
    image: &StoredImage,
    sent: &[send::SentLayer],
    destination: &dyn ImageDestination,
    options: &PushOptions,
    annotation: Option<&(String, String)>,
) -> Result<(Manifest, Vec<NewManifestReason>), PushError> {
    let old = &image.manifest;
    let mut reasons = Vec::new();
    if options.recompress.is_some() {
        reasons.push(NewManifestReason::Recompressed);
    }
    if annotation.is_some() {
        reasons.push(NewManifestReason::Annotated);
    }
    if destination.needs_oci_manifest() && old.media_type != new_manifest::OCI_MANIFEST {
        reasons.push(NewManifestReason::Converted);
    }
    if reasons.is_empty() {
        return Ok((old.clone(), reasons));
    }
    let layers = options.recompress.map(|compression| {
        let new = |sent: &send::SentLayer| new_manifest::NewLayer {
            digest: sent.digest,
            size: sent.size,
            media_type: compression.media_type(),
        };
        sent.iter().map(new).collect::<Vec<_>>()
    });
    let annotation = annotation.map(|(key, value)| (key.as_str(), value.as_str()));
    let new = new_manifest::new_manifest(old, layers.as_deref(), annotation)?;
    if new.digest == old.digest {
        reasons.clear();
    }
    Ok((new, reasons))
}

impl PushOptions {
    /// Fails if the push was cancelled.
    fn check(&self) -> Result<(), PushError> {
        match self.cancelled.load(std::sync::atomic::Ordering::Relaxed) {
            true => Err(PushError::Cancelled),
            false => Ok(()),
        }
    }
}
