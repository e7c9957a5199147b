//! The plan of a partial pull: for each content where it comes from, and the ranges that must be fetched.

use std::collections::HashMap;

use super::ranges::merge;
use super::{ByteRange, ChunkData, ChunkedLayer};
use crate::BlobDigest;

/// Number of ranges that a request asks for, where the server allows it. The header line has about 24 bytes for each.
pub const RANGES_PER_REQUEST: usize = 64;
/// Largest number of requests for the contents of a layer. The TOC and the tar-split data are fetched before by one
/// request, or by two if the server answers the first of two ranges only, so that they are 20.
pub const REQUESTS_MAX: usize = 18;
/// The bytes between ranges that are fetched to save requests are at most this part of what must be fetched anyway.
const EXTRA_PART: u64 = 20;
/// A range of its own costs about as many bytes: its numbers in the request, and a header in the answer.
const RANGE_COST: u64 = 128;

/// The plan of a partial pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullPlan {
    pub(super) files: Vec<FileSource>,
    /// For each chunk of the TOC; those of reused files have no meaning.
    pub(super) chunks: Vec<ChunkSource>,
    needed: Vec<ByteRange>,
    /// The bytes of the TOC and the tar-split data, which were fetched before.
    before: u64,
    reused: u64,
}

/// The place that a content comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSource {
    /// It is here.
    Local,
    /// From its chunks.
    Chunks,
}

/// The place that a chunk comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkSource {
    Zeros,
    /// It is here.
    Local,
    /// It is fetched.
    Fetched,
    /// It is fetched, and needed again later.
    FetchedAndKept,
    /// An earlier chunk has the same bytes.
    Repeated,
}

impl PullPlan {
    /// Makes the plan. `is_here` says which contents and chunks, by SHA-256 and size, need not be fetched.
    #[must_use]
    pub fn new(layer: &ChunkedLayer, is_here: &mut dyn FnMut(&BlobDigest, u64) -> bool) -> Self {
        let toc = layer.toc();
        let mut plan = Self {
            files: Vec::with_capacity(toc.files().len()),
            chunks: vec![ChunkSource::Zeros; toc.chunks().len()],
            needed: Vec::new(),
            before: layer.fetched(),
            reused: 0,
        };
        let mut asked: HashMap<(BlobDigest, u64), bool> = HashMap::new();
        let mut is_here =
            |digest: &BlobDigest, size| *asked.entry((*digest, size)).or_insert_with(|| is_here(digest, size));
        let mut fetched: HashMap<(BlobDigest, u64), usize> = HashMap::new();
        for file in toc.files() {
            if is_here(&file.digest, file.size) {
                plan.files.push(FileSource::Local);
                plan.reused += file.size;
                continue;
            }
            plan.files.push(FileSource::Chunks);
            for (index, chunk) in file.chunks.clone().zip(toc.chunks_of(file)) {
                let ChunkData::Bytes(digest) = chunk.data else { continue };
                let key = (digest, chunk.size);
                plan.chunks[index] = if is_here(&digest, chunk.size) {
                    plan.reused += chunk.size;
                    ChunkSource::Local
                } else if let Some(first) = fetched.get(&key) {
                    plan.chunks[*first] = ChunkSource::FetchedAndKept;
                    ChunkSource::Repeated
                } else {
                    fetched.insert(key, index);
                    plan.needed.push(chunk.range);
                    ChunkSource::Fetched
                };
            }
        }
        plan
    }

    /// Returns the ranges of the blob that have the missing chunks, in ascending order, one for each.
    #[must_use]
    pub fn needed(&self) -> &[ByteRange] {
        &self.needed
    }

    /// Returns the number of bytes of [`needed`](Self::needed).
    #[must_use]
    pub fn needed_bytes(&self) -> u64 {
        self.needed.iter().map(|range| range.len()).sum()
    }

    /// Returns the number of bytes of contents that need not be fetched, after decompression.
    #[must_use]
    pub fn reused_bytes(&self) -> u64 {
        self.reused
    }

    /// Returns the requests to fetch the missing chunks, each with at most this number of ranges.
    ///
    /// Ranges that are near each other are merged. More are merged to save requests: as long as the bytes between them
    /// are at most a twentieth of the bytes that must be fetched (the compressed chunks, the TOC and the tar-split
    /// data), and further until [`REQUESTS_MAX`] requests suffice.
    #[must_use]
    pub fn requests(&self, ranges_per_request: usize) -> Vec<Vec<ByteRange>> {
        let per_request = ranges_per_request.clamp(1, RANGES_PER_REQUEST);
        let gaps = self.needed.windows(2).map(|pair| pair[1].start - pair[0].end);
        let free = gaps.filter(|gap| *gap <= RANGE_COST).sum();
        let extra = self.needed_bytes().saturating_add(self.before) / EXTRA_PART;
        let fewest = merge(&self.needed, extra.max(free), REQUESTS_MAX * per_request).len();
        // More bytes than that number of requests needs would save nothing.
        let merged = merge(&self.needed, free, fewest.next_multiple_of(per_request));
        merged.chunks(per_request).map(<[ByteRange]>::to_vec).collect()
    }
}
