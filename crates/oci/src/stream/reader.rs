//! Reading a stream: its references, and its content chunk by chunk.

use std::io::{self, BufReader, Cursor, Read, Take};
use std::ops::Range;

use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::stream_tables;
use zstd::stream::read::Decoder;

use super::{ContentType, NamedRef, StreamError};

/// Largest size of the names of a stream, in bytes: the diff IDs of some ten thousand layers.
const NAMES_MAX: u64 = 1 << 20;
/// Largest window of a compressed frame, as a binary logarithm.
const WINDOW_LOG_MAX: u32 = 27;

/// A part of the content of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamChunk {
    /// This number of plain bytes, to be read by [`StreamReader::read_inline`].
    Inline(u64),
    /// The whole content of an object.
    Object(Digest),
}

/// Reads a stream whose file is in memory. The file has the headers of a layer and the digests of its objects; the
/// objects are other files.
pub struct StreamReader<'f> {
    objects: Vec<Digest>,
    refs: Vec<NamedRef>,
    content_type: ContentType,
    size: u64,
    chunks: Take<Decoder<'static, BufReader<ChunkBytes<'f>>>>,
    /// Bytes of the present inline chunk that were not read.
    inline_left: u64,
    /// Bytes of the content so far, without those of objects.
    seen: u64,
}

impl std::fmt::Debug for StreamReader<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("StreamReader").field("size", &self.size).finish_non_exhaustive()
    }
}

/// The compressed chunks of a stream.
enum ChunkBytes<'f> {
    Borrowed(&'f [u8]),
    Owned(Take<Cursor<Vec<u8>>>),
}

impl Read for ChunkBytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Borrowed(bytes) => bytes.read(buffer),
            Self::Owned(bytes) => bytes.read(buffer),
        }
    }
}

impl StreamReader<'static> {
    /// Reads the tables of a stream, and keeps its file.
    ///
    /// # Errors
    ///
    /// Those of [`StreamReader::new`].
    pub fn of_vec(file: Vec<u8>, algorithm: Algorithm) -> Result<Self, StreamError> {
        let (StreamReader { objects, refs, content_type, size, .. }, at) = StreamReader::with_range(&file, algorithm)?;
        let mut bytes = Cursor::new(file);
        bytes.set_position(at.start);
        let chunks = chunks(ChunkBytes::Owned(bytes.take(at.end - at.start)), size)?;
        Ok(Self { objects, refs, content_type, size, chunks, inline_left: 0, seen: 0 })
    }
}

impl<'f> StreamReader<'f> {
    /// Reads the tables of a stream.
    ///
    /// # Errors
    ///
    /// If the file is no stream with digests of this algorithm, or a table is damaged.
    pub fn new(file: &'f [u8], algorithm: Algorithm) -> Result<Self, StreamError> {
        Ok(Self::with_range(file, algorithm)?.0)
    }

    /// Reads the tables of a stream. Returns the range of its chunks too.
    fn with_range(file: &'f [u8], algorithm: Algorithm) -> Result<(Self, Range<u64>), StreamError> {
        let part = |range: &Range<u64>| -> &'f [u8] {
            let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(file.len());
            &file[usize::try_from(range.start).unwrap_or(usize::MAX).min(end)..end]
        };
        let read = |offset: u64, buffer: &mut [u8]| {
            let from = part(&(offset..offset.saturating_add(buffer.len() as u64)));
            (from.len() == buffer.len()).then(|| buffer.copy_from_slice(from)).ok_or(io::ErrorKind::UnexpectedEof)
        };
        let tables = stream_tables(file.len() as u64, algorithm, read).map_err(io::Error::from)?;
        let tables = tables.map_err(StreamError::Tables)?;
        let content = tables.content.ok_or(StreamError::Tables("has no content"))?;
        let digests = |range: &Range<u64>| -> Vec<Digest> {
            let raw = part(range).chunks_exact(algorithm.digest_len());
            raw.filter_map(|raw| Digest::new(algorithm, raw)).collect()
        };
        let streams = digests(&tables.streams);
        let reader = Self {
            objects: digests(&tables.objects),
            refs: names(part(&content.names), &streams)?,
            content_type: ContentType(content.content_type),
            size: content.size,
            chunks: chunks(ChunkBytes::Borrowed(part(&content.chunks)), content.size)?,
            inline_left: 0,
            seen: 0,
        };
        Ok((reader, content.chunks))
    }

    /// Returns the objects that hold parts of the content.
    #[must_use]
    pub fn objects(&self) -> &[Digest] {
        &self.objects
    }

    /// Returns the named references, sorted by name.
    #[must_use]
    pub fn refs(&self) -> &[NamedRef] {
        &self.refs
    }

    /// Returns the digest of a named reference.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Digest> {
        self.refs.iter().find(|reference| reference.name == name).map(|reference| reference.digest)
    }

    /// Returns the kind of content.
    #[must_use]
    pub fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// Returns the size of the content, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the next chunk. What is left of the bytes of the last one is skipped. `None` at the end.
    ///
    /// # Errors
    ///
    /// If the stream is damaged.
    // Not an iterator: the bytes of a chunk are read between two calls.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<StreamChunk>, StreamError> {
        if self.inline_left > 0 {
            let skipped = io::copy(&mut (&mut self.chunks).take(self.inline_left), &mut io::sink())?;
            if skipped != self.inline_left {
                return Err(StreamError::Damaged("it ends within a chunk"));
            }
            self.inline_left = 0;
        }
        let mut number = [0; 8];
        match fill(&mut self.chunks, &mut number)? {
            0 => return Ok(None),
            8 => {}
            _ => return Err(StreamError::Damaged("it ends within the number of a chunk")),
        }
        let number = i64::from_le_bytes(number);
        if number >= 0 {
            let object = usize::try_from(number).ok().and_then(|number| self.objects.get(number));
            return object
                .map(|digest| Some(StreamChunk::Object(*digest)))
                .ok_or(StreamError::Damaged("no such object"));
        }
        let len = number.unsigned_abs();
        self.seen = self.seen.saturating_add(len);
        if self.seen > self.size {
            return Err(StreamError::Damaged("the chunks are longer than the content"));
        }
        self.inline_left = len;
        Ok(Some(StreamChunk::Inline(len)))
    }

    /// Returns the number of bytes of the present inline chunk that were not read.
    #[must_use]
    pub fn inline_left(&self) -> u64 {
        self.inline_left
    }

    /// Reads bytes of the present inline chunk, as many as are left of it and fit into the buffer.
    ///
    /// # Errors
    ///
    /// If the stream is damaged.
    pub fn read_inline(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let len = usize::try_from(self.inline_left).unwrap_or(usize::MAX).min(buffer.len());
        if fill(&mut self.chunks, &mut buffer[..len])? != len {
            return Err(StreamError::Damaged("it ends within a chunk"));
        }
        self.inline_left -= len as u64;
        Ok(len)
    }
}

/// Begins to read the chunks of a content of `size` bytes.
fn chunks(bytes: ChunkBytes<'_>, size: u64) -> io::Result<Take<Decoder<'static, BufReader<ChunkBytes<'_>>>>> {
    // Of the inline bytes each has at most 9 in a chunk, and the last chunk is followed by nothing.
    Ok(decoder(bytes)?.take(size.saturating_mul(9).saturating_add(8)))
}

fn decoder<R: Read>(compressed: R) -> io::Result<Decoder<'static, BufReader<R>>> {
    let mut decoder = Decoder::new(compressed)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder.single_frame())
}

/// Reads the records `INDEX:NAME\0`.
fn names(compressed: &[u8], streams: &[Digest]) -> Result<Vec<NamedRef>, StreamError> {
    let mut text = Vec::new();
    decoder(compressed)?.take(NAMES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > NAMES_MAX {
        return Err(StreamError::Damaged("it has too many names"));
    }
    let damaged = || StreamError::Damaged("a name of it is malformed");
    let mut refs = Vec::new();
    for record in text.split_inclusive(|byte| *byte == 0) {
        let record = record.strip_suffix(&[0]).and_then(|record| std::str::from_utf8(record).ok());
        let (index, name) = record.and_then(|record| record.split_once(':')).ok_or_else(damaged)?;
        let digest = index.parse().ok().and_then(|index: usize| streams.get(index)).ok_or_else(damaged)?;
        refs.push(NamedRef { name: name.to_owned(), digest: *digest });
    }
    Ok(refs)
}

/// Reads until the buffer is full or the input ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match input.read(&mut buffer[len..])? {
            0 => break,
            read => len += read,
        }
    }
    Ok(len)
}
