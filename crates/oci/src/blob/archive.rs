//! The archive of a layer, read from its stream and its objects.

use std::fs::File;
use std::io::{self, Read};

use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;

use crate::BlobDigest;
use crate::stored::{STREAM_MAX, StoredError, stream_name};
use crate::stream::{StreamChunk, StreamKind, StreamReader};

/// Reads the uncompressed archive of a layer. Its digest is not compared.
#[derive(Debug)]
pub struct LayerArchive<'r> {
    repository: &'r Repository,
    stream: StreamReader<'static>,
    object: Option<File>,
    left: u64,
}

impl<'r> LayerArchive<'r> {
    /// Opens a layer; `None` if the repository does not have it.
    ///
    /// # Errors
    ///
    /// If the repository or the stream cannot be read.
    pub fn open(repository: &'r Repository, diff_id: &BlobDigest) -> Result<Option<Self>, StoredError> {
        let name = stream_name(StreamKind::Layer(*diff_id));
        let Some(digest) = repository.stream(&name)? else { return Ok(None) };
        Self::of_stream(repository, diff_id, &digest).map(Some)
    }

    /// Opens a layer by the object of its stream, which may have no link yet.
    ///
    /// # Errors
    ///
    /// If the stream cannot be read.
    pub fn of_stream(repository: &'r Repository, diff_id: &BlobDigest, stream: &Digest) -> Result<Self, StoredError> {
        let name = stream_name(StreamKind::Layer(*diff_id));
        let file = repository.read_object(stream, STREAM_MAX)?;
        let stream = StreamReader::of_vec(file, repository.algorithm());
        let stream = stream.map_err(|error| StoredError::Stream { name, error })?;
        let left = stream.size();
        Ok(Self { repository, stream, object: None, left })
    }

    /// Returns the size of the archive, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.stream.size()
    }

    fn read_piece(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(object) = &mut self.object {
                match object.read(buffer)? {
                    0 => self.object = None,
                    len => return Ok(len),
                }
            }
            if self.stream.inline_left() > 0 {
                return self.stream.read_inline(buffer).map_err(io::Error::other);
            }
            match self.stream.next().map_err(io::Error::other)? {
                None => return Ok(0),
                Some(StreamChunk::Inline(_)) => {}
                Some(StreamChunk::Object(digest)) => {
                    self.object = Some(open_object(self.repository, &digest).map_err(io::Error::other)?);
                }
            }
        }
    }
}

impl Read for LayerArchive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let len = self.read_piece(buffer)?;
        let left = self.left.checked_sub(len as u64).filter(|left| len > 0 || *left == 0);
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the layer has another size than its stream says");
        self.left = left.ok_or_else(wrong)?;
        Ok(len)
    }
}

/// Opens an object, whose content is compared later.
pub(super) fn open_object(repository: &Repository, digest: &Digest) -> Result<File, StoredError> {
    let file = repository.objects().open_object(digest).map_err(libcomposefs_repo::RepositoryError::from)?;
    Ok(file.ok_or(StoredError::NoObject(*digest))?.into())
}
