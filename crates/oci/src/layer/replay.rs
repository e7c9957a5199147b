//! Applying a stored layer to a tree: the headers are in its stream, so that its objects are not read.

use std::collections::HashMap;
use std::io::Read;

use libcomposefs_image::{Algorithm, Digest};

use super::apply::{FileData, ImageTree};
use super::entries::{ContentError, Entries, INLINE_MAX, LayerBytes, LayerReadError};
use super::import::ExpandedFiles;
use super::sink::{LayerSink, file_data};
use super::sparse::SparseExpander;
use crate::stream::{StreamChunk, StreamError, StreamReader};
use crate::tar::{Limits, SparseMap, TarEntry, TarError, TarParser};

/// The expanded contents of sparse files.
pub trait Expander {
    /// Returns the expanded content of a sparse file whose stored bytes are an object or are given.
    ///
    /// # Errors
    ///
    /// If the object cannot be read or the expanded content cannot be stored.
    fn expand(&mut self, number: u64, map: &SparseMap, stored: Stored<'_>) -> Result<FileData, LayerReadError>;
}

/// The stored bytes of a sparse file.
#[derive(Clone, Copy, Debug)]
pub enum Stored<'s> {
    /// An object and its size.
    Object(Digest, u64),
    /// The bytes themselves.
    Inline(&'s [u8]),
}

impl Expander for &ExpandedFiles {
    fn expand(&mut self, number: u64, _: &SparseMap, _: Stored<'_>) -> Result<FileData, LayerReadError> {
        self.get(&number).cloned().ok_or(StreamError::Damaged("a sparse file was not expanded").into())
    }
}

/// Applies a layer to a tree. `file` is the file of its stream.
///
/// # Errors
///
/// If the stream is damaged, or an entry breaks a rule. The tree must not be used any more.
pub fn apply_stream(
    tree: &mut ImageTree,
    file: &[u8],
    algorithm: Algorithm,
    expander: &mut dyn Expander,
) -> Result<(), LayerReadError> {
    let stream = StreamReader::new(file, algorithm)?;
    let bytes = ReplayBytes { stream, expander, number: 0, sizes: None };
    let mut entries = Entries::new(TarParser::new(Limits::default()), bytes);
    while let Some((entry, data)) = entries.next()? {
        entries.bytes.number = entries.count();
        tree.apply(&entry, data).map_err(|error| entries.refused(&entry, error))?;
    }
    Ok(())
}

/// Checks that a stream gives the entries of its archive, and each file the whole content that its header says: the
/// tree is built from the chunks of the stream, and not from the archive, whose digest was compared. `sizes` has the
/// size of each object.
///
/// # Errors
///
/// If a chunk is not where the archive has a content.
pub fn check_stream(file: &[u8], algorithm: Algorithm, sizes: &HashMap<Digest, u64>) -> Result<(), LayerReadError> {
    walk(file, algorithm, Some(sizes)).map(drop)
}

/// Returns the number of entries of a stored layer. `file` is the file of its stream.
///
/// # Errors
///
/// If the stream or its archive is damaged.
pub fn count_entries(file: &[u8], algorithm: Algorithm) -> Result<u64, LayerReadError> {
    walk(file, algorithm, None)
}

/// Reads all entries of a stream, and returns their number.
fn walk(file: &[u8], algorithm: Algorithm, sizes: Option<&HashMap<Digest, u64>>) -> Result<u64, LayerReadError> {
    struct NoExpansion;
    impl Expander for NoExpansion {
        fn expand(&mut self, _: u64, _: &SparseMap, _: Stored<'_>) -> Result<FileData, LayerReadError> {
            Ok(FileData::Inline(Vec::new()))
        }
    }
    let stream = StreamReader::new(file, algorithm)?;
    let bytes = ReplayBytes { stream, expander: &mut NoExpansion, number: 0, sizes };
    let mut entries = Entries::new(TarParser::new(Limits::default()), bytes);
    while entries.next()?.is_some() {}
    Ok(entries.count())
}

/// The bytes of a stream.
struct ReplayBytes<'a> {
    stream: StreamReader<'a>,
    expander: &'a mut dyn Expander,
    /// The number of entries that were applied.
    number: u64,
    /// The sizes of objects, which are compared with the headers if they are given.
    sizes: Option<&'a HashMap<Digest, u64>>,
}

impl LayerBytes for ReplayBytes<'_> {
    fn raw(&mut self, buffer: &mut [u8]) -> Result<usize, LayerReadError> {
        let mut len = 0;
        while len < buffer.len() {
            match self.stream.read_inline(&mut buffer[len..])? {
                0 => match self.stream.next()? {
                    None => break,
                    Some(StreamChunk::Inline(_)) => {}
                    Some(StreamChunk::Object(_)) => {
                        return Err(
                            StreamError::Damaged("an object is where a header or a small content must be").into()
                        );
                    }
                },
                read => len += read,
            }
        }
        Ok(len)
    }

    fn skip(&mut self, len: u64) -> Result<u64, LayerReadError> {
        let (mut left, mut buffer) = (len, [0; 4096]);
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            match self.raw(&mut buffer[..now])? {
                0 => break,
                read => left -= read as u64,
            }
        }
        Ok(len - left)
    }

    fn content(&mut self, entry: &TarEntry) -> Result<FileData, ContentError> {
        let size = entry.stored_size;
        if size <= INLINE_MAX {
            let mut content = vec![0; usize::try_from(size).unwrap_or_default()];
            let len = self.raw(&mut content)?;
            if len < content.len() {
                return Err(ContentError::Tar(TarError::TruncatedData(size - len as u64)));
            }
            return match &entry.sparse {
                None => Ok(FileData::Inline(content)),
                Some(map) => self.expanded(map, Stored::Inline(&content)),
            };
        }
        if self.stream.inline_left() > 0 {
            return Err(StreamError::Damaged("a content of more than 64 bytes is no object").into());
        }
        match self.stream.next()? {
            Some(StreamChunk::Object(digest)) if self.sizes.is_some_and(|sizes| sizes.get(&digest) != Some(&size)) => {
                Err(StreamError::Damaged("an object has another size than the header of its file says").into())
            }
            Some(StreamChunk::Object(digest)) => match &entry.sparse {
                None => Ok(FileData::Object(digest, size)),
                Some(map) => self.expanded(map, Stored::Object(digest, size)),
            },
            None => Err(ContentError::Tar(TarError::TruncatedData(size))),
            Some(StreamChunk::Inline(_)) => {
                Err(StreamError::Damaged("a content of more than 64 bytes is no object").into())
            }
        }
    }
}

impl ReplayBytes<'_> {
    fn expanded(&mut self, map: &SparseMap, stored: Stored<'_>) -> Result<FileData, ContentError> {
        Ok(self.expander.expand(self.number + 1, map, stored)?)
    }
}

/// Expands a sparse file from its stored bytes, of which there are `stored`.
///
/// # Errors
///
/// If the map does not fit to the bytes, or the content cannot be stored.
pub fn expand(
    map: &SparseMap,
    stored: u64,
    bytes: &mut dyn Read,
    sink: &dyn LayerSink,
) -> Result<FileData, LayerReadError> {
    let mut expander = SparseExpander::new(map, stored);
    let data = file_data(map.size, sink, &mut |out| {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match bytes.read(&mut buffer)? {
                0 => return Ok(expander.finish(out)?),
                len => expander.take(&buffer[..len], out)?,
            }
        }
    })?;
    Ok(data)
}
