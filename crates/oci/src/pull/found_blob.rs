//! Finding what a repository has kept of the blob of a layer.

use std::io;

use libcomposefs_repo::{Repository, RepositoryError, Transaction};

use super::keep::KeptStream;
use super::until_interrupted::UntilInterrupted;
use crate::BlobDigest;
use crate::blob::{BlobKind, CheckedBlob, KeptBlob, blob_kind, open_object};
use crate::blob_record::{BlobRecord, RECORD_MAX};
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
    /// Nothing: the object of what was kept is missing or damaged.
    Damaged,
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
            if let Some((_, kept)) = kept
                && !is_intact(transaction, blob, kept)?
            {
                return Ok(FoundBlob::Damaged);
            }
            // Published again: a pull that was cut may have written the link of the stream without its name.
            let is_record = kept.is_some_and(|(_, kept)| matches!(kept, KeptBlob::Record { .. }));
            let kept = kept.map(|(stream, kept)| KeptStream { stream, object: kept.object() });
            Ok(kept.filter(|_| is_record).map_or(FoundBlob::Given(kept), FoundBlob::Record))
        }
    };
    match found() {
        // A damaged stream is written anew.
        Err(StoredError::Stream { .. } | StoredError::Repository(RepositoryError::Object(_))) => Ok(FoundBlob::Damaged),
        other => other,
    }
}

/// Returns whether the object of what was kept is there, and right: a whole blob is read, and so is a record, but the
/// blob is not rebuilt from it.
fn is_intact(transaction: &Transaction<'_>, blob: &BlobRef, kept: KeptBlob) -> Result<bool, StoredError> {
    let repository = transaction.repository();
    match kept {
        KeptBlob::Record { object, .. } => match repository.read_object(&object, RECORD_MAX) {
            Ok(_) => Ok(true),
            Err(RepositoryError::Object(_)) => Ok(false),
            Err(error) => Err(error.into()),
        },
        KeptBlob::Whole { object, size } => {
            let file = match open_object(repository, &object) {
                Ok(file) => file,
                Err(StoredError::NoObject(_) | StoredError::Repository(RepositoryError::Object(_))) => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            let mut input = UntilInterrupted { input: CheckedBlob::of_source(file, blob.digest, size), transaction };
            let read = io::copy(&mut input, &mut io::sink());
            transaction.proceed()?;
            Ok(read.is_ok())
        }
    }
}

/// Returns the size of the blob of a layer that the repository has, if it knows that size.
pub(super) fn known_size(repository: &Repository, blob: &BlobDigest) -> Option<u64> {
    match KeptBlob::find(repository, blob) {
        Ok(Some(KeptBlob::Whole { size, .. })) => Some(size),
        Ok(Some(KeptBlob::Record { object, .. })) => {
            let record = repository.read_object(&object, RECORD_MAX).ok()?;
            BlobRecord::parse(&record).ok().filter(|record| record.blob == *blob).map(|record| record.blob_size)
        }
        // What is damaged is written anew.
        Ok(None) | Err(_) => None,
    }
}
