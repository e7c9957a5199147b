//! The stream with the composefs images of the single layers of an image (`docs/format/oci.md`, section 3.2).

use std::io;

use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::Repository;

use crate::BlobDigest;
use crate::stored::{STREAM_MAX, StoredError, StoredImage, stream_name};
use crate::stream::{ContentType, NamedRef, StreamError, StreamKind, StreamReader, StreamWriter};

/// The beginning of the name of a reference: the number of the layer from 1, a colon and the diff ID follow.
const PREFIX: &str = "composefs.layer.";

/// Returns the file of the stream. It has no content but its references.
pub(crate) fn layer_images_stream(
    algorithm: Algorithm,
    diff_ids: &[BlobDigest],
    images: &[Digest],
) -> io::Result<Vec<u8>> {
    let refs = diff_ids.iter().zip(images).enumerate();
    let refs = refs.map(|(number, (diff_id, digest))| NamedRef { name: name(number, diff_id), digest: *digest });
    StreamWriter::new(algorithm)?.finish(ContentType::LAYER_IMAGES, &refs.collect::<Vec<_>>())
}

fn name(number: usize, diff_id: &BlobDigest) -> String {
    format!("{PREFIX}{}:{diff_id}", number + 1)
}

/// Returns the composefs images of the single layers of an image, the lowest first. `None` if they were not made.
///
/// # Errors
///
/// If their stream is damaged, or is not of the layers of this image.
pub fn stored_layer_images(repository: &Repository, image: &StoredImage) -> Result<Option<Vec<Digest>>, StoredError> {
    let stream = stream_name(StreamKind::LayerImages(image.manifest.digest));
    let Some(digest) = repository.stream(&stream)? else { return Ok(None) };
    let file = repository.read_object(&digest, STREAM_MAX)?;
    let damaged = |error| StoredError::Stream { name: stream.clone(), error };
    let reader = StreamReader::new(&file, repository.algorithm()).map_err(damaged)?;
    let wrong = || damaged(StreamError::Damaged("its references are not those of the layers of the image"));
    let diff_ids = &image.config.diff_ids;
    if reader.content_type() != ContentType::LAYER_IMAGES || reader.refs().len() != diff_ids.len() {
        return Err(wrong());
    }
    let images = diff_ids.iter().enumerate().map(|(number, diff_id)| {
        let name = name(number, diff_id);
        reader.refs().iter().find(|named| named.name == name).map(|named| named.digest)
    });
    images.collect::<Option<Vec<Digest>>>().map(Some).ok_or_else(wrong)
}
