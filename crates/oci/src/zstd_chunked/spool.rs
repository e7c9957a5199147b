//! Chunks that are fetched once and needed several times: they wait in a temporary file.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::BlobDigest;

#[derive(Debug)]
pub(super) struct ChunkSpool {
    file: File,
    len: u64,
    /// The offset of each chunk.
    chunks: HashMap<(BlobDigest, u64), u64>,
}

impl ChunkSpool {
    pub(super) fn new(file: File) -> Self {
        Self { file, len: 0, chunks: HashMap::new() }
    }

    /// Returns the offset at which the next chunk begins.
    pub(super) fn end(&self) -> u64 {
        self.len
    }

    /// Appends bytes of a chunk.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.len)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Ends a chunk, which was verified, and began at this offset.
    pub(super) fn end_chunk(&mut self, digest: BlobDigest, size: u64, start: u64) {
        self.chunks.insert((digest, size), start);
    }

    /// Returns the offset of a chunk.
    pub(super) fn find(&self, digest: BlobDigest, size: u64) -> Option<u64> {
        self.chunks.get(&(digest, size)).copied()
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}
