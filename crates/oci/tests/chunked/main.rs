//! Partial pulls of layers in the format zstd:chunked.

mod golden;
mod pulled;
mod refused;
mod stored;
mod update;
mod writer;

use std::fs::File;
use std::io::{Read, Write as _};

use libcomposefs_image::Algorithm;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::layer::HashOnly;
use libcomposefs_oci::tar_split::{ContentOrigin, Origins};
use libcomposefs_oci::zstd_chunked::{
    ChunkedError, ChunkedImport, ChunkedLimits, ChunkedPositions, ChunkedSource, FileRanges, LocalContents,
    import_chunked,
};

/// Contents in memory.
#[derive(Default)]
struct MemoryContents(std::collections::HashMap<BlobDigest, Vec<u8>>);

impl MemoryContents {
    fn add(&mut self, content: &[u8]) {
        self.0.insert(BlobDigest::of(content), content.to_vec());
    }
}

impl LocalContents for MemoryContents {
    fn contains(&mut self, digest: &BlobDigest, size: u64) -> bool {
        self.0.get(digest).is_some_and(|content| content.len() as u64 == size)
    }

    fn open(&mut self, digest: &BlobDigest, _: u64) -> std::io::Result<(Box<dyn Read>, ContentOrigin)> {
        Ok((Box::new(std::io::Cursor::new(self.0[digest].clone())), ContentOrigin::Unknown))
    }
}

/// Returns the number of bytes of the TOC and the tar-split data.
fn sections(positions: &ChunkedPositions) -> u64 {
    positions.toc.range.len() + positions.tar_split.range.len()
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Pulls a layer from a file.
fn pull(
    blob: &[u8],
    positions: &ChunkedPositions,
    diff_id: BlobDigest,
    local: &mut dyn LocalContents,
    ranges_per_request: usize,
) -> Result<ChunkedImport, ChunkedError> {
    let mut fetcher = FileRanges::new(file(blob), ranges_per_request);
    let source = ChunkedSource { positions, diff_id: Some(diff_id), limits: ChunkedLimits::default() };
    let sink = HashOnly(Algorithm::Sha256);
    let import = import_chunked(&source, &mut fetcher, local, &sink, &Origins::default(), file(b""))?;
    assert_eq!((import.requests, import.fetched), (fetcher.requests, fetcher.bytes));
    assert_eq!(import.imported.diff_id, diff_id);
    Ok(import)
}
