//! The description of an OCI image in a bundle: which of its objects are what (`docs/format/bundle.md`).

use std::collections::{BTreeMap, BTreeSet};

use libcomposefs_image::Digest;
use libcomposefs_repo::bundle::OciDocument;
use libcomposefs_repo::{Repository, StreamTag};
use serde::{Deserialize, Serialize};

use crate::BlobDigest;
use crate::blob::KeptBlob;
use crate::stored::{STREAM_MAX, StoredError, StoredImage, stream_name};
use crate::stored_layer_images::stored_layer_images;
use crate::stream::{StreamError, StreamKind, StreamReader};

/// The description. All values are digests of objects in hexadecimal digits.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BundledImage {
    /// The manifest, byte for byte.
    manifest: String,
    /// The configuration, byte for byte.
    config: String,
    /// The stream of each layer, by its diff ID.
    layers: BTreeMap<String, String>,
    /// The streams of kept blobs, by the digest of the blob.
    blobs: BTreeMap<String, String>,
    /// Whether the image has images of its single layers.
    per_layer: bool,
    /// Whether the image has a bootable image. Programs that know no such field refuse it, so it stands only if it
    /// does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    bootable: bool,
}

/// Describes an image of a repository, with the objects that a receiver needs: documents, layers and kept blobs.
/// Composefs images are not among them: the receiver makes them of the layers.
///
/// # Errors
///
/// If a stream of the image is missing or damaged.
pub fn bundle_document(
    repository: &Repository,
    image: &StoredImage,
    names: Vec<StreamTag>,
) -> Result<OciDocument, StoredError> {
    let mut objects = BTreeSet::new();
    let mut document_of = |kind: StreamKind, stream: Option<Digest>| -> Result<_, StoredError> {
        let (_, found, refs) = stream_objects(repository, kind, stream)?;
        let name = stream_name(kind);
        let error = StreamError::Damaged("its content is not one object");
        let [object] = found[..] else { return Err(StoredError::Stream { name, error }) };
        objects.insert(object);
        Ok((object.to_hex(), refs))
    };
    let (manifest, refs) = document_of(StreamKind::Manifest(image.manifest.digest), None)?;
    let config = StreamKind::Config(image.config.digest);
    let config_stream = refs.iter().find(|(name, _)| *name == format!("config:{}", image.config.digest));
    let (config, _) = document_of(config, config_stream.map(|(_, digest)| *digest))?;
    let (mut layers, mut blobs) = (BTreeMap::new(), BTreeMap::new());
    for diff_id in &image.config.diff_ids {
        let (stream, found, _) = stream_objects(repository, StreamKind::Layer(*diff_id), None)?;
        objects.insert(stream);
        objects.extend(found);
        layers.insert(diff_id.to_string(), stream.to_hex());
    }
    for blob in &image.manifest.layers {
        let Some(stream) = repository.stream(&stream_name(StreamKind::KeptBlob(blob.digest)))? else { continue };
        objects.insert(stream);
        objects.insert(KeptBlob::of_stream(repository, &blob.digest, &stream)?.object());
        blobs.insert(blob.digest.to_string(), stream.to_hex());
    }
    let per_layer = stored_layer_images(repository, image)?.is_some();
    let images: Vec<_> = image.image().into_iter().chain(image.boot_image()).collect();
    let bootable = image.boot_image().is_some();
    let text = serde_json::to_vec(&BundledImage { manifest, config, layers, blobs, per_layer, bootable });
    let text = text.map_err(|error| StoredError::Output(error.into()))?;
    Ok(OciDocument { names, objects: objects.into_iter().collect(), text, images })
}

type StreamParts = (Digest, Vec<Digest>, Vec<(String, Digest)>);

/// Reads a stream: returns its object, the objects of its content, and its references.
fn stream_objects(repository: &Repository, kind: StreamKind, at: Option<Digest>) -> Result<StreamParts, StoredError> {
    let name = stream_name(kind);
    let digest = at.map_or_else(|| repository.stream(&name), |digest| Ok(Some(digest)))?;
    let digest = digest.ok_or_else(|| StoredError::NoStream(name.clone()))?;
    let file = repository.read_object(&digest, STREAM_MAX)?;
    let stream =
        StreamReader::new(&file, repository.algorithm()).map_err(|error| StoredError::Stream { name, error })?;
    let refs = stream.refs().iter().map(|named| (named.name.clone(), named.digest)).collect();
    Ok((digest, stream.objects().to_vec(), refs))
}

/// The description of a bundle, with its digests parsed.
#[derive(Debug)]
pub(crate) struct ParsedBundledImage {
    pub(crate) manifest: Digest,
    pub(crate) config: Digest,
    pub(crate) layers: BTreeMap<BlobDigest, Digest>,
    pub(crate) blobs: BTreeMap<BlobDigest, Digest>,
    pub(crate) per_layer: bool,
    pub(crate) bootable: bool,
}

impl ParsedBundledImage {
    /// Parses the text of a bundle. Returns the rule that it breaks.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let image: BundledImage = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let streams = |map| streams_of(map).ok_or_else(|| "a digest is malformed".to_owned());
        let object = |hex: &str| Digest::from_hex(hex).map_err(|error| error.to_string());
        Ok(Self {
            manifest: object(&image.manifest)?,
            config: object(&image.config)?,
            layers: streams(&image.layers)?,
            blobs: streams(&image.blobs)?,
            per_layer: image.per_layer,
            bootable: image.bootable,
        })
    }
}

/// Parses the description of a bundle, and returns the number of its digests.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
#[must_use]
pub fn count_digests(text: &[u8]) -> Option<usize> {
    ParsedBundledImage::parse(text).ok().map(|image| 2 + 2 * (image.layers.len() + image.blobs.len()))
}

/// Returns the digests of layers or blobs, each with its stream. `None` if one is malformed.
fn streams_of(map: &BTreeMap<String, String>) -> Option<BTreeMap<BlobDigest, Digest>> {
    map.iter().map(|(name, stream)| Some((name.parse().ok()?, Digest::from_hex(stream).ok()?))).collect()
}
