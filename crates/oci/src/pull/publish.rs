//! Adding the image, its configuration and its manifest to a transaction.

use std::collections::BTreeSet;

use libcomposefs_image::Digest;
use libcomposefs_repo::{Format, StreamName, StreamTag, Transaction};

use super::layers::{BuiltTree, ReadLayers};
use super::{PullError, image_format};
use crate::manifest::{ImageConfig, Manifest};
use crate::stored::{IMAGE_REF, IMAGE_REF_V1, image_refs, stream_name};
use crate::stream::{ContentType, NamedRef, StreamKind, StreamWriter};

/// Adds everything that a pulled image has: the links of layers, the image, the configuration and the manifest.
pub(super) fn publish(
    transaction: &mut Transaction<'_>,
    manifest: &Manifest,
    config: &ImageConfig,
    layers: &ReadLayers,
    tree: &BuiltTree,
    tags: &[StreamTag],
) -> Result<Digest, PullError> {
    let repository = transaction.repository();
    let format = image_format(repository.meta().format);
    let image = format.plan(&tree.tree).map_err(PullError::Image)?;
    let image_digest = transaction.add_image(&tree.tree, &image, Vec::new())?;

    let mut objects: BTreeSet<Digest> = BTreeSet::new();
    let mut layer_refs = Vec::new();
    for layer in &layers.distinct {
        let Some(digest) = layer.stream else { continue };
        layer_refs.push(NamedRef { name: layer.diff_id.to_string(), digest });
        let name = stream_name(StreamKind::Layer(layer.diff_id));
        transaction.add_stored_stream(name, digest, layer.objects.clone());
        objects.insert(digest);
    }
    let name = if format == Format::Legacy { IMAGE_REF } else { IMAGE_REF_V1 };
    let mut image_names = vec![NamedRef { name: name.to_owned(), digest: image_digest }];
    // Images that another program has made of this configuration, such as a bootable one, are kept.
    for old in image_refs(repository, &config.digest)? {
        if old.name != name {
            transaction.protect(&[old.digest])?;
            // A gc that has removed the link then removes the objects of the image.
            if repository.has_image(&old.digest)? {
                image_names.push(old);
            }
        }
    }
    objects.extend(image_names.iter().map(|image| image.digest));

    let config_refs: Vec<NamedRef> = layer_refs.iter().cloned().chain(image_names).collect();
    let config_name = stream_name(StreamKind::Config(config.digest));
    let config_digest = add_blob_stream(
        transaction,
        config_name,
        (&config.raw, ContentType::CONFIG),
        &config_refs,
        &objects,
        Vec::new(),
    )?;
    objects.insert(config_digest);

    let config_ref = NamedRef { name: format!("config:{}", config.digest), digest: config_digest };
    let manifest_refs: Vec<NamedRef> = std::iter::once(config_ref).chain(layer_refs).collect();
    let manifest_name = stream_name(StreamKind::Manifest(manifest.digest));
    add_blob_stream(
        transaction,
        manifest_name,
        (&manifest.raw, ContentType::MANIFEST),
        &manifest_refs,
        &objects,
        tags.to_vec(),
    )?;
    Ok(image_digest)
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
    let file = written().map_err(|error| PullError::Stored(Box::new(crate::layer::LayerReadError::Read(error))))?;
    let needed = needed.iter().copied().chain([object]).collect();
    Ok(transaction.add_stream(name, &file, needed, tags)?)
}
