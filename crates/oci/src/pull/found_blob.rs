//! Finding what a repository has kept of the blob of a layer.

use libcomposefs_repo::{RepositoryError, Transaction};

use super::keep::KeptStream;
use crate::BlobDigest;
use crate::blob::{BlobKind, KeptBlob, blob_kind};
use crate::manifest::BlobRef;
use crate::stored::{StoredError, stream_name};
use crate::stream::StreamKind;

/// What the repository can give of the blob of a layer that it has.
#[derive(Clone, Copy, Debug)]
pub(super) enum FoundBlob {
    /// The blob: it was kept whole, or the archive is the blob.
    Given(Option<KeptStream>),
    /// The blob, from a record.
    Record(KeptStream),
    /// Nothing.
    Missing,
}

/// Finds out whether the repository can give a blob back, and protects what it has kept of it.
pub(super) fn find_kept(
    transaction: &Transaction<'_>,
    blob: &BlobRef,
    diff_id: &BlobDigest,
) -> Result<FoundBlob, StoredError> {
    let repository = transaction.repository();
    let name = stream_name(StreamKind::KeptBlob(blob.digest));
    let stream = repository.stream(&name)?;
    if let Some(digest) = stream {
        // The lease protects what the stream needs.
        transaction.protect(&[digest])?;
    }
    let found = || match blob_kind(repository, blob, diff_id)? {
        BlobKind::None => Ok(FoundBlob::Missing),
        BlobKind::Exact => Ok(FoundBlob::Given(None)),
        BlobKind::Rebuildable(_) | BlobKind::Whole(_) => {
            // Of the stream that is protected.
            let read = |stream| KeptBlob::of_stream(repository, &blob.digest, &stream).map(|kept| (stream, kept));
            let kept = stream.map(read).transpose()?;
            // Published again: a pull that was cut may have written the link of the stream without its name.
            let is_record = kept.is_some_and(|(_, kept)| matches!(kept, KeptBlob::Record { .. }));
            let kept = kept.map(|(stream, kept)| KeptStream { stream, object: kept.object() });
            Ok(kept.filter(|_| is_record).map_or(FoundBlob::Given(kept), FoundBlob::Record))
        }
    };
    match found() {
        // A damaged stream is written anew.
        Err(StoredError::Stream { .. } | StoredError::Repository(RepositoryError::Object(_))) => Ok(FoundBlob::Missing),
        other => other,
    }
}
