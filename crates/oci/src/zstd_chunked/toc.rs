//! The table of contents: the contents of a layer in the order of its archive, and where in the blob their bytes are.

use std::ops::Range;

use super::ByteRange;
use crate::BlobDigest;

/// The contents of a layer. What else the TOC has, names and attributes, is not read: the archive has it too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toc {
    pub(super) files: Vec<TocFile>,
    pub(super) chunks: Vec<TocChunk>,
    /// The digest of the compressed tar-split data.
    pub(super) tar_split_digest: Option<BlobDigest>,
}

/// A regular file with content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TocFile {
    /// The SHA-256 of the content.
    pub digest: BlobDigest,
    /// Number of bytes, which is not 0.
    pub size: u64,
    /// The chunks of the content, among those of the TOC.
    pub chunks: Range<usize>,
}

/// A part of a content, which can be decompressed alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TocChunk {
    /// The compressed bytes in the blob.
    pub range: ByteRange,
    /// Number of bytes after decompression, which is not 0.
    pub size: u64,
    /// The content of the chunk.
    pub data: ChunkData,
}

/// The content of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkData {
    /// Bytes with this SHA-256.
    Bytes(BlobDigest),
    /// Zeros, which need not be fetched.
    Zeros,
}

impl Toc {
    /// Returns the files with content, in the order of the archive.
    #[must_use]
    pub fn files(&self) -> &[TocFile] {
        &self.files
    }

    /// Returns the chunks of all files. Their ranges are in ascending order and do not overlap.
    #[must_use]
    pub fn chunks(&self) -> &[TocChunk] {
        &self.chunks
    }

    /// Returns the chunks of a file.
    #[must_use]
    pub fn chunks_of(&self, file: &TocFile) -> &[TocChunk] {
        self.chunks.get(file.chunks.clone()).unwrap_or_default()
    }

    /// Returns the offset after the last compressed byte of a content.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.chunks.last().map_or(0, |chunk| chunk.range.end)
    }

    /// Returns the digest of the compressed tar-split data.
    #[must_use]
    pub fn tar_split_digest(&self) -> Option<BlobDigest> {
        self.tar_split_digest
    }
}
