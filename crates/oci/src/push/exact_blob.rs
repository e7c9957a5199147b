//! Blobs that the repository can give byte for byte, as the manifest names them.

use std::io::{self, Read};

use libcomposefs_repo::{Reader, Repository};

use super::layer_archive::ArchiveContent;
use crate::BlobDigest;
use crate::blob::{BlobKind, KeptBlob, blob_kind, open_blob};
use crate::destination::BlobContent;
use crate::manifest::BlobRef;
use crate::stored::StoredError;

/// A blob that the repository gives exactly. It is made each time it is opened.
struct ExactBlob<'r> {
    repository: &'r Repository,
    blob: BlobRef,
    diff_id: BlobDigest,
}

impl BlobContent for ExactBlob<'_> {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        let opened = open_blob(self.repository, &self.blob, &self.diff_id).map_err(io::Error::other)?;
        opened.ok_or_else(|| io::Error::other(format!("what was kept of the blob {} is gone", self.blob.digest)))
    }
}

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
    let repository = reader.repository();
    let kind = blob_kind(repository, blob, diff_id)?;
    if kind == BlobKind::None {
        return Ok(None);
    }
    // The blob is found by its stream each time it is opened, so the stream must stay too.
    if let Some((stream, kept)) = KeptBlob::find_stream(repository, &blob.digest)? {
        reader.protect(&[stream, kept.object()])?;
    }
    if !matches!(kind, BlobKind::Whole(_)) {
        reader.protect(&ArchiveContent::find(repository, diff_id)?.objects())?;
    }
    Ok(Some(Box::new(ExactBlob { repository, blob: blob.clone(), diff_id: *diff_id })))
}
