//! Publishing a pulled image: its layers, its composefs image, its configuration and its manifest, then its tags.

use std::collections::BTreeSet;

use libcomposefs_image::Digest;
use libcomposefs_image::tree::Tree;
use libcomposefs_repo::{Committed, RepositoryError, StreamCommit, StreamName, StreamTag, Transaction};

use super::boot_image::MadeImages;
use super::layers::ReadLayers;
use super::{PullError, PullProgress, image_format};
use crate::layer::LayerReadError;
use crate::manifest::{ImageConfig, Manifest};
use crate::stored::{image_refs, stream_name};
use crate::stored_layer_images::layer_images_stream;
use crate::stream::{ContentType, NamedRef, StreamKind, StreamWriter};

/// Number of times that the streams are made again because another process has changed the configuration.
const ATTEMPTS: usize = 16;

/// What a pull has read and verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct PulledParts<'p> {
    pub(super) manifest: &'p Manifest,
    pub(super) config: &'p ImageConfig,
    pub(super) layers: &'p ReadLayers,
    /// The images of the single layers, which were added before.
    pub(super) layer_images: Option<&'p [Digest]>,
}

/// Adds a composefs image to the transaction and returns its digest.
pub(super) fn add_image(transaction: &mut Transaction<'_>, tree: &Tree) -> Result<Digest, PullError> {
    let format = image_format(transaction.repository().meta().format);
    let image = format.plan(tree).map_err(PullError::Image)?;
    Ok(transaction.add_image(tree, &image, Vec::new())?)
}

/// Publishes everything that a pulled image has. The composefs images were added before.
pub(super) fn publish(
    mut transaction: Transaction<'_>,
    parts: PulledParts<'_>,
    images: &MadeImages,
    tags: &[StreamTag],
    progress: &dyn PullProgress,
) -> Result<Committed, PullError> {
    let images = images.references(image_format(transaction.repository().meta().format));
    for _ in 0..ATTEMPTS {
        add_streams(&mut transaction, parts, &images, tags)?;
        progress.publish();
        match transaction.commit_streams()? {
            StreamCommit::Done(committed) => return Ok(committed),
            StreamCommit::Changed(again) => transaction = *again,
        }
    }
    let name = StreamKind::Config(parts.config.digest).to_string();
    let path = transaction.repository().path().to_owned();
    Err(RepositoryError::StreamChanged { name, path }.into())
}

/// Adds the streams of layers, the configuration and the manifest.
fn add_streams(
    transaction: &mut Transaction<'_>,
    PulledParts { manifest, config, layers, layer_images }: PulledParts<'_>,
    images: &[NamedRef],
    tags: &[StreamTag],
) -> Result<(), PullError> {
    let mut objects: BTreeSet<Digest> = BTreeSet::new();
    let mut layer_refs = Vec::new();
    for layer in &layers.distinct {
        let Some(digest) = layer.stream else { continue };
        layer_refs.push(NamedRef { name: layer.diff_id.to_string(), digest });
        let name = stream_name(StreamKind::Layer(layer.diff_id));
        transaction.add_stored_stream(name, digest, layer.objects.clone());
        objects.insert(digest);
    }
    let kept = layers.distinct.iter().filter_map(|layer| Some((layer.blob, layer.kept?)));
    for (blob, kept) in kept.chain(layers.other_kept.iter().copied()) {
        transaction.add_stored_stream(stream_name(StreamKind::KeptBlob(blob)), kept.stream, vec![kept.object]);
    }
    if let Some(images) = layer_images {
        let name = stream_name(StreamKind::LayerImages(manifest.digest));
        let file = layer_images_stream(transaction.repository().algorithm(), &config.diff_ids, images);
        let file = file.map_err(|error| PullError::Stored(Box::new(LayerReadError::Read(error))))?;
        transaction.add_stream(name, &file, images.to_vec(), Vec::new())?;
    }
    let config_name = stream_name(StreamKind::Config(config.digest));
    let images = image_names(transaction, config, &config_name, images)?;
    objects.extend(images.iter().map(|image| image.digest));

    let config_refs: Vec<NamedRef> = layer_refs.iter().cloned().chain(images).collect();
    let content = (&config.raw[..], ContentType::CONFIG);
    let config_digest = add_blob_stream(transaction, config_name, content, &config_refs, &objects, Vec::new())?;
    objects.insert(config_digest);

    let config_ref = NamedRef { name: format!("config:{}", config.digest), digest: config_digest };
    let manifest_refs: Vec<NamedRef> = std::iter::once(config_ref).chain(layer_refs).collect();
    let manifest_name = stream_name(StreamKind::Manifest(manifest.digest));
    let content = (&manifest.raw[..], ContentType::MANIFEST);
    add_blob_stream(transaction, manifest_name, content, &manifest_refs, &objects, tags.to_vec())?;
    Ok(())
}

/// Returns the references of the configuration to images: to those that were made now, and to others of this
/// configuration, such as a bootable one of an earlier pull.
fn image_names(
    transaction: &mut Transaction<'_>,
    config: &ImageConfig,
    config_name: &StreamName,
    images: &[NamedRef],
) -> Result<Vec<NamedRef>, PullError> {
    let repository = transaction.repository();
    let mut names = images.to_vec();
    let stream = repository.stream(config_name)?;
    transaction.expect_stream(config_name.clone(), stream);
    let Some(stream) = stream else { return Ok(names) };
    transaction.protect(&[stream])?;
    for old in image_refs(repository, &config.digest, &stream)? {
        if images.iter().all(|image| image.name != old.name) {
            transaction.protect(&[old.digest])?;
            // A gc that has removed the link then removes the objects of the image.
            if repository.has_image(&old.digest)? {
                names.push(old);
            }
        }
    }
    Ok(names)
}

/// Adds a stream whose content is one object.
fn add_blob_stream(
    transaction: &mut Transaction<'_>,
    name: StreamName,
    (content, content_type): (&[u8], ContentType),
    refs: &[NamedRef],
    needed: &BTreeSet<Digest>,
    tags: Vec<StreamTag>,
) -> Result<Digest, PullError> {
    let stored = |error| PullError::Repository(libcomposefs_repo::RepositoryError::Store(error));
    let (object, _) = transaction.batch().put_bytes(content).map_err(stored)?;
    let written = || {
        let mut stream = StreamWriter::new(transaction.repository().algorithm())?;
        stream.object(object, content.len() as u64)?;
        stream.finish(content_type, refs)
    };
    let file = written().map_err(|error| PullError::Stored(Box::new(LayerReadError::Read(error))))?;
    let needed = needed.iter().copied().chain([object]).collect();
    Ok(transaction.add_stream(name, &file, needed, tags)?)
}
