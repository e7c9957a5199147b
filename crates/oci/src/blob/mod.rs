//! The compressed blobs of layers, given back exactly: from the archive, from a record, or from the kept blob.
//!
//! A registry names a layer by the digest of its compressed blob; a repository keeps the archive. What a pull keeps
//! beside it (`PullOptions::keep_blobs`) is a stream `composefs-blob-sha256:HEX`
//! (`docs/format/oci.md`, section 3.1).

mod archive;
mod checked;
mod kept;

use std::io::Read;

use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;

use crate::BlobDigest;
use crate::blob_record::{BlobRecord, BlobRecordError, RECORD_MAX, RebuiltBlob};
use crate::manifest::BlobRef;
use crate::stored::{StoredError, stream_name};
use crate::stream::StreamKind;

pub use archive::LayerArchive;
pub(crate) use archive::open_object;
pub use checked::CheckedBlob;
pub(crate) use kept::KeptBlob;

/// The way in which a repository can give the blob of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlobKind {
    /// The blob is the uncompressed archive, which the repository has.
    Exact,
    /// The blob is rebuilt from the archive and a record of this many bytes.
    Rebuildable(u64),
    /// The repository has kept the whole blob beside the archive, of this many bytes.
    Whole(u64),
    /// The repository cannot give the blob.
    None,
}

/// Returns how a repository can give the blob of a layer. Neither the layer nor its objects are read.
///
/// # Errors
///
/// If the repository cannot be read, or the stream of the kept blob is damaged.
pub fn blob_kind(repository: &Repository, blob: &BlobRef, diff_id: &BlobDigest) -> Result<BlobKind, StoredError> {
    let has_layer = || repository.stream(&stream_name(StreamKind::Layer(*diff_id)));
    if blob.digest == *diff_id && has_layer()?.is_some() {
        return Ok(BlobKind::Exact);
    }
    Ok(match KeptBlob::find(repository, &blob.digest)? {
        Some(KeptBlob::Whole { size, .. }) => BlobKind::Whole(size),
        Some(KeptBlob::Record { size, .. }) if has_layer()?.is_some() => BlobKind::Rebuildable(size),
        Some(KeptBlob::Record { .. }) | None => BlobKind::None,
    })
}

/// Opens the blob of a layer: the bytes that the registry has under its digest. `None` if the repository cannot give
/// it, as [`blob_kind`] says.
///
/// The blob is made while it is read; memory does not depend on its size, but for the record and the headers of the
/// layer. Its size and digest are compared at its end: the last read fails if they are others, so the reader must be
/// read to its end.
///
/// # Errors
///
/// If the repository cannot be read, or a stream of it is damaged.
pub fn open_blob<'r>(
    repository: &'r Repository,
    blob: &BlobRef,
    diff_id: &BlobDigest,
) -> Result<Option<Box<dyn Read + Send + 'r>>, StoredError> {
    let checked = |input: Box<dyn Read + Send + 'r>| -> Box<dyn Read + Send + 'r> {
        Box::new(CheckedBlob::new(input, blob.digest, blob.size))
    };
    if blob.digest == *diff_id
        && let Some(archive) = LayerArchive::open(repository, diff_id)?
    {
        return Ok(Some(checked(Box::new(archive))));
    }
    Ok(match KeptBlob::find(repository, &blob.digest)? {
        Some(KeptBlob::Whole { object, .. }) => Some(checked(Box::new(archive::open_object(repository, &object)?))),
        Some(KeptBlob::Record { object, .. }) => match LayerArchive::open(repository, diff_id)? {
            Some(archive) => Some(checked(Box::new(rebuilt(repository, blob, &object, archive)?))),
            None => None,
        },
        None => None,
    })
}

/// Begins to rebuild a blob from the object of its record.
pub(crate) fn rebuilt<A: Read>(
    repository: &Repository,
    blob: &BlobRef,
    object: &Digest,
    archive: A,
) -> Result<RebuiltBlob<A>, StoredError> {
    let record = repository.read_object(object, RECORD_MAX)?;
    let name = stream_name(StreamKind::KeptBlob(blob.digest));
    let rebuilt = match BlobRecord::parse(&record) {
        // What the record says of its blob limits the work.
        Ok(parsed) if (parsed.blob, parsed.blob_size) != (blob.digest, blob.size) => {
            Err(BlobRecordError::Damaged("it is that of another blob"))
        }
        Ok(_) => RebuiltBlob::new(record, archive),
        Err(error) => Err(error),
    };
    rebuilt.map_err(|error| StoredError::Record { name, error: Box::new(error) })
}
