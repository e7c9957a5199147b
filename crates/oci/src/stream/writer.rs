//! Writing a stream: the chunks are compressed as they come, the tables are written at the end.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use libcomposefs_image::{Algorithm, Digest};
use zstd::stream::write::Encoder;

use super::ContentType;

/// Plain bytes that wait for the end of their chunk. A chunk that is longer is divided.
const INLINE_MAX: usize = 4 << 20;
const HEADER_LEN: u64 = 32;
const INFO_LEN: u64 = 80;

/// A named reference of a stream: to another stream, by the digest of its file, or to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRef {
    /// The name, without NUL.
    pub name: String,
    /// The object of the stream, or the image.
    pub digest: Digest,
}

/// Collects the content of a stream.
///
/// ```
/// use libcomposefs_image::{Algorithm, verity};
/// use libcomposefs_oci::stream::{StreamChunk, ContentType, StreamReader, StreamWriter};
///
/// let mut writer = StreamWriter::new(Algorithm::Sha256)?;
/// let object = verity::digest(Algorithm::Sha256, &[7; 100]);
/// writer.inline(b"before")?;
/// writer.object(object, 100)?;
/// let file = writer.finish(ContentType::LAYER, &[])?;
///
/// let mut reader = StreamReader::new(&file, Algorithm::Sha256)?;
/// assert_eq!(reader.size(), 106);
/// assert_eq!(reader.next()?, Some(StreamChunk::Inline(6)));
/// let mut before = [0; 6];
/// reader.read_inline(&mut before)?;
/// assert_eq!(reader.next()?, Some(StreamChunk::Object(object)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StreamWriter {
    algorithm: Algorithm,
    objects: Vec<Digest>,
    index: HashMap<Digest, i64>,
    inline: Vec<u8>,
    chunks: Encoder<'static, Vec<u8>>,
    size: u64,
}

impl std::fmt::Debug for StreamWriter {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("StreamWriter").field("size", &self.size).finish_non_exhaustive()
    }
}

impl StreamWriter {
    /// Begins a stream in memory.
    ///
    /// # Errors
    ///
    /// If the compressor has no memory.
    pub fn new(algorithm: Algorithm) -> io::Result<Self> {
        let chunks = Encoder::new(Vec::new(), 0)?;
        Ok(Self { algorithm, objects: Vec::new(), index: HashMap::new(), inline: Vec::new(), chunks, size: 0 })
    }

    /// Appends plain bytes to the content.
    ///
    /// # Errors
    ///
    /// If the compressor has no memory.
    pub fn inline(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.size += bytes.len() as u64;
        self.inline.extend_from_slice(bytes);
        if self.inline.len() >= INLINE_MAX { self.end_inline() } else { Ok(()) }
    }

    /// Appends the content of an object, of `size` bytes.
    ///
    /// # Errors
    ///
    /// If the compressor has no memory.
    pub fn object(&mut self, digest: Digest, size: u64) -> io::Result<()> {
        self.end_inline()?;
        self.size += size;
        let next = self.objects.len() as i64;
        let index = *self.index.entry(digest).or_insert(next);
        if index == next {
            self.objects.push(digest);
        }
        self.chunks.write_all(&index.to_le_bytes())
    }

    /// Returns the objects of the content, each once.
    #[must_use]
    pub fn objects(&self) -> &[Digest] {
        &self.objects
    }

    fn end_inline(&mut self) -> io::Result<()> {
        if self.inline.is_empty() {
            return Ok(());
        }
        let len = self.inline.len() as i64;
        self.chunks.write_all(&(-len).to_le_bytes())?;
        self.chunks.write_all(&self.inline)?;
        self.inline.clear();
        Ok(())
    }

    /// Returns the file of the stream, with these named references.
    ///
    /// # Errors
    ///
    /// If the compressor has no memory.
    pub fn finish(mut self, content_type: ContentType, refs: &[NamedRef]) -> io::Result<Vec<u8>> {
        self.end_inline()?;
        let Self { algorithm, objects, chunks, size, .. } = self;
        let chunks = chunks.finish()?;
        let mut streams: Vec<Digest> = Vec::new();
        let mut names = BTreeMap::new();
        for NamedRef { name, digest } in refs {
            let index = streams.iter().position(|known| known == digest).unwrap_or_else(|| {
                streams.push(*digest);
                streams.len() - 1
            });
            names.insert(name, index);
        }
        let names: String = names.into_iter().map(|(name, index)| format!("{index}:{name}\0")).collect();
        let names = zstd::stream::encode_all(names.as_bytes(), 0)?;

        let digest_len = algorithm.digest_len() as u64;
        let mut at = HEADER_LEN + INFO_LEN;
        let mut range = |len: u64| {
            let start = at;
            at += len;
            [start.to_le_bytes(), at.to_le_bytes()].concat()
        };
        let streams_range = range(digest_len * streams.len() as u64);
        let objects_range = range(digest_len * objects.len() as u64);
        let names_range = range(names.len() as u64);
        let chunks_range = range(chunks.len() as u64);
        let mut file = Vec::with_capacity(at as usize);
        file.extend_from_slice(b"SplitStream\0\0\0");
        file.extend_from_slice(&[algorithm.kernel_number(), 12]);
        file.extend_from_slice(&HEADER_LEN.to_le_bytes());
        file.extend_from_slice(&(HEADER_LEN + INFO_LEN).to_le_bytes());
        for part in [streams_range, objects_range, chunks_range, names_range] {
            file.extend_from_slice(&part);
        }
        file.extend_from_slice(&content_type.0);
        file.extend_from_slice(&size.to_le_bytes());
        for digest in streams.iter().chain(&objects) {
            file.extend_from_slice(digest.as_bytes());
        }
        file.extend_from_slice(&names);
        file.extend_from_slice(&chunks);
        Ok(file)
    }
}
