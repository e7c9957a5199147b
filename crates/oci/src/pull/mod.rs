//! Pulling an image: its layers become streams and objects, its tree becomes a composefs image, and the names come last
//! (`docs/format/oci.md`, section 3).

mod added_objects;
mod annotations;
mod blob_reader;
mod blob_spool;
mod boot_image;
mod checkpoints;
mod found_blob;
mod keep;
mod keep_blobs;
mod known;
mod layer_images;
mod layer_streams;
mod layers;
mod partial;
mod publish;
mod read_layer;
mod received;
mod trees;
mod until_interrupted;
mod whole_blob;

pub use boot_image::{BootTree, NoBootTree};
pub use layer_streams::LayerStreams;
pub use trees::{
    PlainOptions, PlainTrees, keep_contents, plain_trees, read_documents, source_tree, stored_plain_trees,
};

pub use keep::KeepError;
pub use keep_blobs::KeepBlobs;
pub use received::prune_received;

use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::{Repository, RepositoryError, StreamTag};

use crate::BlobDigest;
use crate::blob::{BlobKind, blob_kind};
use crate::compression::WINDOW_LOG;
use crate::layer::{HashOnly, LayerError, LayerReadError, LayerWarning, WhiteoutRule, XattrFilter};
use crate::manifest::{BlobRef, ManifestError, Platform};
use crate::source::{ImageSource, SourceError};
use crate::stored::StoredError;

use boot_image::MadeImages;
use known::KnownContents;

/// Options of a pull.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PullOptions {
    /// The extended attributes that the image keeps.
    pub xattrs: XattrFilter,
    /// The effect of whiteouts on entries of their own layer.
    pub whiteouts: WhiteoutRule,
    /// The effect of an annotation of the manifest with another digest than the image has.
    pub annotations: AnnotationRule,
    /// The platform of the image; `None` for that of this machine.
    pub platform: Option<Platform>,
    /// Largest size of the archive of a layer, in bytes. `None` for 1 GiB and a hundred times the size of its blob.
    pub layer_size_max: Option<u64>,
    /// Largest window of a zstd frame, as a binary logarithm.
    pub window_log: u32,
    /// Read whole blobs, also where the repository has a part of their contents. The blob can then be given out again.
    pub whole: bool,
    /// Number of layers that are read at once.
    pub parallel: usize,
    /// The names that the image gets.
    pub tags: Vec<StreamTag>,
    /// What is kept of the compressed blobs.
    pub keep_blobs: KeepBlobs,
    /// Make an image of each layer too.
    pub per_layer: bool,
    /// Make a bootable image too, whose tree this function makes of that of the image.
    pub bootable: Option<BootTree>,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            xattrs: XattrFilter::default(),
            whiteouts: WhiteoutRule::default(),
            annotations: AnnotationRule::default(),
            platform: None,
            layer_size_max: None,
            window_log: WINDOW_LOG,
            whole: false,
            parallel: 3,
            tags: Vec::new(),
            keep_blobs: KeepBlobs::default(),
            per_layer: false,
            bootable: None,
        }
    }
}

/// The effect of an annotation with a digest of composefs that the image does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnnotationRule {
    /// The pull fails.
    #[default]
    Refuse,
    /// A warning. An image that was built FROM an annotated one has the annotations of its base.
    Warn,
}

/// Is told about the progress of a pull, from several threads.
pub trait PullProgress: Sync {
    /// The layer of this number begins. `size` is that of its blob.
    fn layer(&self, _number: usize, _diff_id: &BlobDigest, _size: u64) {}
    /// Bytes of the blob of a layer were read.
    fn bytes(&self, _number: usize, _bytes: u64) {}
    /// A layer ended.
    fn done(&self, _number: usize, _outcome: LayerOutcome) {}
    /// The image is about to be published. Called again if another process has changed its configuration.
    fn publish(&self) {}
}

/// Reports no progress.
#[derive(Clone, Copy, Debug)]
pub struct NoPullProgress;

impl PullProgress for NoPullProgress {}

/// The way in which a layer came into the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerOutcome {
    /// Its blob was read.
    Pulled,
    /// Only the contents that the repository did not have were fetched. The digest of the blob is not known to be
    /// right; that of the archive is.
    Partial {
        /// Number of bytes of the blob that were fetched.
        fetched: u64,
        /// Number of bytes of contents that the repository had.
        reused: u64,
    },
    /// The repository had it, and its content has the right digest.
    Present,
}

/// A layer of a pulled image.
#[derive(Clone, Debug)]
pub struct PulledLayer {
    /// The blob, as the manifest names it.
    pub blob: BlobRef,
    /// The digest of the uncompressed archive.
    pub diff_id: BlobDigest,
    /// The size of the uncompressed archive, in bytes.
    pub size: u64,
    /// The way in which the layer came into the repository.
    pub outcome: LayerOutcome,
    /// The way in which the repository can give the blob back.
    pub blob_kind: BlobKind,
}

/// A pulled image.
#[derive(Debug)]
pub struct PulledImage {
    /// The digest of the manifest.
    pub manifest: BlobDigest,
    /// The digest of the configuration.
    pub config: BlobDigest,
    /// The layers, the lowest first.
    pub layers: Vec<PulledLayer>,
    /// The digest of the composefs image.
    pub image: Digest,
    /// The digest of the bootable image, if it was asked for.
    pub boot_image: Option<Digest>,
    /// The digests of the images of the single layers, the lowest first, if they were asked for.
    pub layer_images: Option<Vec<Digest>>,
    /// Entries that other programs may read in another way, and annotations that could not be checked.
    pub warnings: Vec<PullWarning>,
    /// Number of objects that were new.
    pub new_objects: u64,
    /// Bytes of the objects that were new.
    pub new_bytes: u64,
}

/// Something about an image that its user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PullWarning {
    /// An entry of a layer.
    Layer(LayerWarning),
    /// Bytes other than zeros follow the compressed archive of a layer.
    Garbage(BlobDigest),
    /// A layer that the repository had is damaged, or is not what its name says. It was pulled again.
    Replaced {
        /// The diff ID of the layer.
        diff_id: BlobDigest,
        /// The damage.
        reason: String,
    },
    /// An annotation has a digest of composefs that the pull does not compute.
    Unchecked {
        /// The key of the annotation.
        key: String,
        /// The number of layers that have it; 0 if the manifest has it.
        layers: usize,
    },
    /// An annotation of the manifest has another digest than the image, and [`AnnotationRule::Warn`] was given.
    OtherDigest {
        /// The key of the annotation.
        key: String,
        /// The digest in the annotation.
        expected: String,
        /// The digest of the image.
        found: String,
    },
    /// A layer could not be fetched in parts, and its whole blob was read.
    NotPartial {
        /// The digest of the blob.
        blob: BlobDigest,
        /// The cause.
        reason: String,
    },
    /// The table for partial pulls cannot be written. The next pull fetches more than it must.
    Table(String),
}

/// The reasons why an image cannot be pulled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The source cannot give the image.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The manifest or configuration is malformed.
    #[error("{what}: {error}")]
    Manifest {
        /// The document.
        what: String,
        /// The rule that it breaks.
        error: ManifestError,
    },
    /// A layer cannot be read.
    #[error("layer {number} of {count}, blob {blob}: {error}{}", media_type_note(media_type.as_deref()))]
    Layer {
        /// The number of the layer, from 1.
        number: usize,
        /// The number of layers.
        count: usize,
        /// The digest of the blob.
        blob: BlobDigest,
        /// The media type, if it is not that of a layer.
        media_type: Option<String>,
        /// The reason.
        error: Box<LayerReadError>,
    },
    /// A blob has another size or digest than its descriptor says.
    #[error("layer {number} of {count}: the blob {expected} {found}: its source is damaged or not to be trusted")]
    Blob {
        /// The number of the layer, from 1.
        number: usize,
        /// The number of layers.
        count: usize,
        /// The digest in the manifest.
        expected: BlobDigest,
        /// The difference.
        found: String,
    },
    /// The archive of a layer has another digest than the configuration says.
    #[error(
        "layer {number} of {count}, blob {blob}: the uncompressed archive has the digest {found}, but the \
         configuration says {expected} (diff_ids): the image is malformed or not to be trusted"
    )]
    DiffId {
        /// The number of the layer, from 1.
        number: usize,
        /// The number of layers.
        count: usize,
        /// The digest of the blob.
        blob: BlobDigest,
        /// The digest in the configuration.
        expected: BlobDigest,
        /// The digest of the archive.
        found: BlobDigest,
    },
    /// An annotation of the manifest has another digest than the image.
    #[error(
        "manifest {manifest}: its annotation {key} has the digest {expected}, but the image has {found}: the layers or \
         the annotation were changed, and the image is not to be trusted; or it was built FROM an image with this \
         annotation, which podman build and buildah copy: then pull it with --ignore-annotations"
    )]
    Annotation {
        /// The digest of the manifest.
        manifest: BlobDigest,
        /// The key of the annotation.
        key: String,
        /// The digest in the annotation.
        expected: String,
        /// The digest of the image.
        found: String,
    },
    /// What is needed to give a blob back cannot be kept.
    #[error(
        "layer {number} of {count}, blob {blob}: what gives the compressed blob back cannot be kept: {error} \
         (a pull that keeps no blobs does not need it)"
    )]
    Keep {
        /// The number of the layer, from 1.
        number: usize,
        /// The number of layers.
        count: usize,
        /// The digest of the blob.
        blob: BlobDigest,
        /// The reason.
        error: Box<KeepError>,
    },
    /// The layers cannot become one tree.
    #[error("{0}")]
    Tree(#[from] LayerError),
    /// The tree cannot become that of a bootable image.
    #[error("the tree of the image cannot become a bootable one: {0}")]
    Boot(NoBootTree),
    /// The tree cannot become an image.
    #[error("the tree of the image cannot be written as a composefs image: {0}")]
    Image(libcomposefs_image::erofs::WriteError),
    /// The repository cannot be read or written.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// What was kept of a blob cannot be read.
    #[error(transparent)]
    Kept(StoredError),
    /// The stream of a layer in the repository cannot be read, although it was verified.
    #[error(transparent)]
    Stored(Box<LayerReadError>),
    /// The repository lacks a part of the image.
    #[error(transparent)]
    StoredImage(Box<crate::stored::StoredError>),
}

/// Returns what a message says of a media type that is not that of a layer.
fn media_type_note(media_type: Option<&str>) -> String {
    let note = |media_type: &str| format!(" (its media type {media_type:.100?} is not that of a layer)");
    media_type.map(note).unwrap_or_default()
}

/// Pulls an image into a repository. Everything is verified before anything has a name, and is on disk when this
/// returns.
///
/// # Errors
///
/// If the image cannot be read, breaks a rule, or cannot be stored. No name was written then; layers that were
/// complete may stay until the next gc.
pub fn pull(
    repository: &Repository,
    source: &dyn ImageSource,
    options: &PullOptions,
    progress: &dyn PullProgress,
) -> Result<PulledImage, PullError> {
    let (manifest, config) = read_documents(source, options)?;
    let mut transaction = repository.transaction()?;
    let known = KnownContents::new(repository);
    let format = image_format(repository.meta().format);
    let batch = transaction.batch();
    let (layers, saved, tree) = batch.commit_aside(|| {
        let layers = layers::pull_layers(&transaction, source, &manifest, &config, options, &known, progress);
        batch.commit_early();
        // Also after an error: the layers that are complete are found by the next pull.
        let saved = known.save();
        let layers = layers?;
        let tree = layers::tree(&transaction, &layers, options)?;
        Ok::<_, PullError>((layers, saved, tree))
    })?;
    let image = publish::add_image(&mut transaction, &tree.tree)?;
    let boot_image = match options.bootable {
        Some(boot_tree) => {
            // The objects are on disk: labels are read from the policy in the tree.
            let tree = boot_tree(repository, &tree.tree).map_err(PullError::Boot)?;
            Some(publish::add_image(&mut transaction, &tree)?)
        }
        None => None,
    };
    let layer_images = match options.per_layer {
        true => Some(layer_images::add_layer_images(&mut transaction, &layers, options)?),
        false => None,
    };
    // Nothing of the image has a name before the commit.
    let images = MadeImages { image, boot_image };
    let unchecked = annotations::check(&manifest, &images, format, options)?;
    let parts = publish::PulledParts {
        manifest: &manifest,
        config: &config,
        layers: &layers,
        layer_images: layer_images.as_deref(),
    };
    let committed = publish::publish(transaction, parts, &images, &options.tags, progress)?;
    let warnings = layers.distinct.iter().flat_map(|layer| layer.warnings.clone());
    let warnings = warnings.chain(tree.warnings.into_iter().map(PullWarning::Layer)).chain(unchecked);
    let warnings = warnings.chain(saved.err().map(|error| PullWarning::Table(error.to_string()))).collect();
    let pulled = manifest.layers.iter().zip(&config.diff_ids).zip(layers.in_order());
    let pulled: Result<Vec<_>, _> = pulled
        .map(|((blob, diff_id), layer)| {
            Ok(PulledLayer {
                blob: blob.clone(),
                diff_id: *diff_id,
                size: layer.size,
                outcome: layer.outcome,
                blob_kind: blob_kind(repository, blob, diff_id)?,
            })
        })
        .collect();
    let (added, added_bytes) = layers.added.total();
    Ok(PulledImage {
        manifest: manifest.digest,
        config: config.digest,
        layers: pulled.map_err(PullError::Kept)?,
        image,
        boot_image,
        layer_images,
        warnings,
        new_objects: added + committed.objects.new,
        new_bytes: added_bytes + committed.objects.bytes_written,
    })
}

/// Computes the digest of the composefs image of an OCI image, and stores nothing.
///
/// # Errors
///
/// If the image cannot be read or breaks a rule.
pub fn image_digest(
    source: &dyn ImageSource,
    algorithm: Algorithm,
    format: libcomposefs_repo::Format,
    options: &PullOptions,
    progress: &dyn PullProgress,
) -> Result<(Digest, Vec<PullWarning>), PullError> {
    let (manifest, config) = read_documents(source, options)?;
    let layers = layers::hash_layers(&HashOnly(algorithm), source, &manifest, &config, options, progress)?;
    let tree = layers::tree_of(algorithm, &layers, None, options)?;
    let image = image_format(format).plan(&tree.tree).map_err(PullError::Image)?;
    let warnings = layers.distinct.into_iter().flat_map(|layer| layer.warnings);
    let warnings = warnings.chain(tree.warnings.into_iter().map(PullWarning::Layer)).collect();
    Ok((image.digest(algorithm), warnings))
}

/// Returns the format of images of OCI images in a repository: version 1, whose digest other programs compute too, or
/// the older layout in old repositories.
#[must_use]
pub fn image_format(format: libcomposefs_repo::Format) -> libcomposefs_repo::Format {
    match format {
        libcomposefs_repo::Format::Auto => libcomposefs_repo::Format::One,
        other => other,
    }
}
