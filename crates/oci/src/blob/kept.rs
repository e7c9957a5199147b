//! What a repository has kept of a blob: a record or the blob itself, in a stream of one object.

use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;

use crate::BlobDigest;
use crate::stored::{StoredError, stream_name};
use crate::stream::{ContentType, StreamChunk, StreamError, StreamKind, StreamReader};

/// Largest size of the file of a stream of one object, in bytes.
const FILE_MAX: u64 = 64 << 10;

/// A kept blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeptBlob {
    /// The object of a record, and its size.
    Record { object: Digest, size: u64 },
    /// The object of the blob, and its size.
    Whole { object: Digest, size: u64 },
}

impl KeptBlob {
    /// Returns the object of the record or the blob.
    pub(crate) fn object(self) -> Digest {
        match self {
            Self::Record { object, .. } | Self::Whole { object, .. } => object,
        }
    }

    /// Finds what a repository has kept of a blob.
    pub(crate) fn find(repository: &Repository, blob: &BlobDigest) -> Result<Option<Self>, StoredError> {
        Ok(Self::find_stream(repository, blob)?.map(|(_, kept)| kept))
    }

    /// Finds what a repository has kept of a blob, with the digest of the file of its stream.
    pub(crate) fn find_stream(
        repository: &Repository,
        blob: &BlobDigest,
    ) -> Result<Option<(Digest, Self)>, StoredError> {
        let Some(digest) = repository.stream(&stream_name(StreamKind::KeptBlob(*blob)))? else { return Ok(None) };
        Ok(Some((digest, Self::of_stream(repository, blob, &digest)?)))
    }

    /// Reads what was kept of a blob from the object of its stream.
    pub(crate) fn of_stream(repository: &Repository, blob: &BlobDigest, digest: &Digest) -> Result<Self, StoredError> {
        let file = repository.read_object(digest, FILE_MAX)?;
        let name = stream_name(StreamKind::KeptBlob(*blob));
        Self::read(&file, repository).map_err(|error| StoredError::Stream { name, error })
    }

    fn read(file: &[u8], repository: &Repository) -> Result<Self, StreamError> {
        let mut stream = StreamReader::new(file, repository.algorithm())?;
        let damaged = StreamError::Damaged("its content is not one object");
        let Some(StreamChunk::Object(object)) = stream.next()? else { return Err(damaged) };
        if stream.next()?.is_some() {
            return Err(damaged);
        }
        let size = stream.size();
        match stream.content_type() {
            ContentType::RECORD => Ok(Self::Record { object, size }),
            ContentType::KEPT_BLOB => Ok(Self::Whole { object, size }),
            _ => Err(StreamError::Damaged("it has neither a record nor a blob")),
        }
    }
}
