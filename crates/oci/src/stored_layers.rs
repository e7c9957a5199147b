//! The layers of an image of a repository: their sizes, and what they share with other images.

use std::collections::HashSet;

use libcomposefs_image::Digest;
use libcomposefs_repo::{Repository, RepositoryError};

use crate::BlobDigest;
use crate::layer::count_entries;
use crate::manifest::{BlobRef, ImageConfig};
use crate::stored::{STREAM_MAX, StoredError, StoredImage, stream_name};
use crate::stream::{StreamKind, StreamReader};

/// A layer of an image of a repository. All sizes are in bytes.
#[derive(Clone, Debug)]
pub struct StoredLayer {
    /// The blob, as the manifest names it.
    pub blob: BlobRef,
    /// The digest of the uncompressed archive.
    pub diff_id: BlobDigest,
    /// Size of the uncompressed archive.
    pub size: u64,
    /// Number of entries of the archive.
    pub entries: u64,
    /// Number of objects that the layer needs, each once.
    pub objects: u64,
    /// Size of these objects.
    pub bytes: u64,
    /// Size of those of them that other named images of the repository need too.
    pub shared: u64,
    /// The command that made the layer, if the configuration says so.
    pub created_by: Option<String>,
}

/// Reads the streams of the layers of an image, and finds what other images of the repository need too: other OCI
/// images with a name, and images with a ref.
///
/// # Errors
///
/// If a layer is missing or damaged, or the names of the repository cannot be read.
pub fn stored_layers(repository: &Repository, image: &StoredImage) -> Result<Vec<StoredLayer>, StoredError> {
    let elsewhere = objects_elsewhere(repository, image)?;
    let created_by = created_by(&image.config);
    let layers = image.manifest.layers.iter().zip(&image.config.diff_ids).enumerate();
    let layers = layers.map(|(number, (blob, diff_id))| {
        let name = stream_name(StreamKind::Layer(*diff_id));
        let file = read_stream(repository, diff_id)?;
        let algorithm = repository.algorithm();
        let damaged = |error| StoredError::Layer { name: name.clone(), error: Box::new(error) };
        let entries = count_entries(&file, algorithm).map_err(damaged)?;
        let stream = StreamReader::new(&file, algorithm).map_err(|error| damaged(error.into()))?;
        let (mut bytes, mut shared) = (0u64, 0u64);
        for object in stream.objects() {
            let size = repository.object(object)?.size();
            bytes = bytes.saturating_add(size);
            shared = shared.saturating_add(if elsewhere.contains(object) { size } else { 0 });
        }
        Ok(StoredLayer {
            blob: blob.clone(),
            diff_id: *diff_id,
            size: stream.size(),
            entries,
            objects: stream.objects().len() as u64,
            bytes,
            shared,
            created_by: created_by.get(number).cloned().flatten(),
        })
    });
    layers.collect()
}

/// Returns the command that made each layer; nothing if the history has another number of layers.
fn created_by(config: &ImageConfig) -> Vec<Option<String>> {
    let history = config.parsed.history().iter().flatten();
    let layers = history.filter(|step| step.empty_layer() != Some(true));
    let commands: Vec<_> = layers.map(|step| step.created_by().clone()).collect();
    if commands.len() == config.diff_ids.len() { commands } else { Vec::new() }
}

fn read_stream(repository: &Repository, diff_id: &BlobDigest) -> Result<Vec<u8>, StoredError> {
    let name = stream_name(StreamKind::Layer(*diff_id));
    let digest = repository.stream(&name)?.ok_or(StoredError::NoStream(name))?;
    Ok(repository.read_object(&digest, STREAM_MAX)?)
}

/// Returns the objects of the layers of other OCI images, and of images with a ref. What cannot be read, or was removed
/// meanwhile, has none.
fn objects_elsewhere(repository: &Repository, image: &StoredImage) -> Result<HashSet<Digest>, RepositoryError> {
    let (mut objects, mut seen) = (HashSet::new(), HashSet::new());
    let own: Vec<Digest> = image.images.iter().map(|named| named.digest).collect();
    for (tag, _) in repository.stream_tags()? {
        let Ok(other) = StoredImage::by_tag(repository, &tag) else { continue };
        if other.manifest.digest == image.manifest.digest {
            continue;
        }
        for diff_id in other.config.diff_ids {
            let is_new = seen.insert(diff_id);
            let Some(file) = is_new.then(|| read_stream(repository, &diff_id).ok()).flatten() else { continue };
            if let Ok(stream) = StreamReader::new(&file, repository.algorithm()) {
                objects.extend(stream.objects());
            }
        }
    }
    let named = repository.images()?.images.into_iter().filter(|entry| !entry.refs.is_empty());
    for entry in named.filter(|entry| !own.contains(&entry.digest)) {
        if let Ok(tree) = repository.tree_of_image(&entry.digest) {
            objects.extend(tree.objects().map(|object| object.digest));
        }
    }
    Ok(objects)
}
