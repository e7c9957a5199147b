//! The uncompressed archive of a stored layer, read from its stream and its objects.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;

use crate::BlobDigest;
use crate::destination::BlobContent;
use crate::stored::{STREAM_MAX, StoredError, stream_name};
use crate::stream::{StreamChunk, StreamKind, StreamReader};

/// An archive. What is read is not compared with its digest: that is the task of those who read it, once and whole.
#[derive(Debug)]
pub(super) struct LayerArchive<'r> {
    repository: &'r Repository,
    /// The digest of the file of the stream.
    pub(super) stream: Digest,
    /// The file of the stream.
    file: Vec<u8>,
    /// The size of the archive, in bytes.
    pub(super) size: u64,
}

impl<'r> LayerArchive<'r> {
    /// Finds a layer by the digest of its archive.
    pub(super) fn find(repository: &'r Repository, diff_id: &BlobDigest) -> Result<Self, StoredError> {
        let name = stream_name(StreamKind::Layer(*diff_id));
        let stream = repository.stream(&name)?.ok_or_else(|| StoredError::NoStream(name.clone()))?;
        let file = repository.read_object(&stream, STREAM_MAX)?;
        let reader = StreamReader::new(&file, repository.algorithm());
        let size = reader.map(|reader| reader.size()).map_err(|error| StoredError::Stream { name, error })?;
        Ok(Self { repository, stream, file, size })
    }

    /// Returns the stream and all objects of the archive.
    pub(super) fn objects(&self) -> Vec<Digest> {
        let reader = StreamReader::new(&self.file, self.repository.algorithm());
        let objects = reader.map(|reader| reader.objects().to_vec()).unwrap_or_default();
        std::iter::once(self.stream).chain(objects).collect()
    }
}

impl BlobContent for LayerArchive<'_> {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        let stream = StreamReader::new(&self.file, self.repository.algorithm()).map_err(io::Error::other)?;
        Ok(Box::new(LayerArchiveReader { repository: self.repository, stream, object: None }))
    }
}

/// Reads an archive: bytes of the stream, and whole objects.
struct LayerArchiveReader<'a> {
    repository: &'a Repository,
    stream: StreamReader<'a>,
    /// The object that is being read.
    object: Option<File>,
}

impl Read for LayerArchiveReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(object) = &mut self.object {
                match object.read(buffer)? {
                    0 => self.object = None,
                    read => return Ok(read),
                }
            }
            match self.stream.read_inline(buffer).map_err(io::Error::other)? {
                0 => {}
                read => return Ok(read),
            }
            match self.stream.next().map_err(io::Error::other)? {
                None => return Ok(0),
                Some(StreamChunk::Inline(_)) => {}
                Some(StreamChunk::Object(digest)) => {
                    let object = self.repository.object(&digest).map_err(io::Error::other)?;
                    self.object = Some(File::from(object.as_fd().try_clone_to_owned()?));
                }
            }
        }
    }
}
