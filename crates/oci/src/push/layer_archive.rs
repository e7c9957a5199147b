//! The uncompressed archive of a stored layer, as content that can be opened several times.

use std::io::{self, Read};

use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;

use crate::BlobDigest;
use crate::blob::LayerArchive;
use crate::destination::BlobContent;
use crate::stored::{StoredError, stream_name};
use crate::stream::StreamKind;

/// An archive. What is read is not compared with its digest: the destination does that.
#[derive(Debug)]
pub(super) struct ArchiveContent<'r> {
    repository: &'r Repository,
    diff_id: BlobDigest,
    /// The digest of the file of the stream.
    stream: Digest,
    /// The objects of the stream.
    objects: Vec<Digest>,
    /// The size of the archive, in bytes.
    pub(super) size: u64,
}

impl<'r> ArchiveContent<'r> {
    /// Finds a layer by the digest of its archive. The stream is not kept, as those of all layers together may be
    /// large.
    pub(super) fn find(repository: &'r Repository, diff_id: &BlobDigest) -> Result<Self, StoredError> {
        let name = stream_name(StreamKind::Layer(*diff_id));
        let stream = repository.stream(&name)?.ok_or(StoredError::NoStream(name))?;
        let archive = LayerArchive::of_stream(repository, diff_id, &stream)?;
        let (objects, size) = (archive.objects().to_vec(), archive.size());
        Ok(Self { repository, diff_id: *diff_id, stream, objects, size })
    }

    /// Returns the stream and all objects of the archive.
    pub(super) fn objects(&self) -> Vec<Digest> {
        std::iter::once(self.stream).chain(self.objects.iter().copied()).collect()
    }
}

impl BlobContent for ArchiveContent<'_> {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        let archive = LayerArchive::of_stream(self.repository, &self.diff_id, &self.stream);
        Ok(Box::new(archive.map_err(io::Error::other)?))
    }
}
