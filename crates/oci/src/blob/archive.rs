//! The archive of a layer, read from its stream and its objects.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;

use crate::BlobDigest;
use crate::stored::{STREAM_MAX, StoredError, stream_name};
use crate::stream::{StreamChunk, StreamKind, StreamReader};
use crate::tar_split::{ContentOrigin, Origins};

/// Smallest size of an object that is cloned rather than copied, in bytes.
const CLONE_MIN: u64 = 64 << 10;

/// Reads the uncompressed archive of a layer. Its digest is not compared.
#[derive(Debug)]
pub struct LayerArchive<'r> {
    repository: &'r Repository,
    stream: StreamReader<'static>,
    object: Option<File>,
    left: u64,
    /// Gets each object that is opened, where the reader of the archive stores contents.
    origins: Option<&'r Origins<'r>>,
    /// Number of objects so far.
    number: u64,
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
        Ok(Self { repository, stream, object: None, left, origins: None, number: 0 })
    }

    /// Gives each object that is opened to `origins`, so that large ones can be cloned.
    pub(crate) fn with_origins(self, origins: &'r Origins<'r>) -> Self {
        Self { origins: Some(origins), ..self }
    }

    /// Returns the objects of the archive.
    pub(crate) fn objects(&self) -> &[Digest] {
        self.stream.objects()
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
                    self.object = Some(self.open_next(&digest)?);
                }
            }
        }
    }

    fn open_next(&mut self, digest: &Digest) -> io::Result<File> {
        let file = open_object(self.repository, digest).map_err(io::Error::other)?;
        let stat = file.metadata()?;
        // An empty object could be repeated without end.
        if !stat.is_file() || stat.len() == 0 {
            return Err(io::Error::other(format!("object {digest} is no regular file, or empty")));
        }
        if let Some(origins) = self.origins {
            let is_cloned = stat.len() >= CLONE_MIN;
            let clone = is_cloned.then(|| file.try_clone()).transpose()?;
            let origin = clone.map_or(ContentOrigin::Unknown, |clone| ContentOrigin::File(Arc::new(clone.into())));
            origins.push(self.number, stat.len(), origin)?;
        }
        self.number += 1;
        Ok(file)
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
pub(crate) fn open_object(repository: &Repository, digest: &Digest) -> Result<File, StoredError> {
    let file = repository.objects().open_object(digest).map_err(libcomposefs_repo::RepositoryError::from)?;
    Ok(file.ok_or(StoredError::NoObject(*digest))?.into())
}
