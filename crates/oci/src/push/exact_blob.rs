//! Blobs that the repository can give byte for byte, as the manifest names them.

use libcomposefs_repo::Reader;

use super::layer_archive::LayerArchive;
use crate::BlobDigest;
use crate::destination::BlobContent;
use crate::manifest::BlobRef;
use crate::stored::StoredError;

/// Returns the blob of a layer; `None` if the repository has only its uncompressed archive.
///
/// # Errors
///
/// If the repository cannot be read.
pub(super) fn exact_blob<'r>(
    reader: &Reader<'r>,
    blob: &BlobRef,
    diff_id: &BlobDigest,
) -> Result<Option<Box<dyn BlobContent + 'r>>, StoredError> {
    if blob.digest != *diff_id {
        return Ok(None);
    }
    let archive = LayerArchive::find(reader.repository(), diff_id)?;
    reader.protect(&archive.objects())?;
    Ok(Some(Box::new(archive)))
}
