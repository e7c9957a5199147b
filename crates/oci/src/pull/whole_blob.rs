//! A blob in the format zstd:chunked that is read whole: its table of contents is kept on the way, so that the next
//! pull knows the contents.

use std::io::{self, Read};
use std::sync::Mutex;

use libcomposefs_content::mutex::{into_inner, lock};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_store::Error;

use crate::layer::{LayerSink, PieceSink};
use crate::zstd_chunked::table::{ContentTable, StoredContent};
use crate::zstd_chunked::{ByteRange, ChunkedLayer, ChunkedLimits, ChunkedPositions};

/// Largest number of bytes of the TOC and the tar-split data that are kept. Contents of layers with more are not known
/// to the next pull.
const KEPT_MAX: u64 = 16 << 20;
/// Largest number of bytes that the list of contents takes. Those of a layer with more are not known to the next pull.
const CONTENTS_MAX: usize = 32 << 20;

/// Keeps what the table needs of a blob.
pub(super) struct WholeBlob<'s> {
    sink: &'s dyn LayerSink,
    positions: ChunkedPositions,
    bytes: Mutex<Vec<u8>>,
    /// The contents, in the order of the archive; `None` after one that the sink has not seen, or too many.
    contents: Mutex<Option<ContentList>>,
}

/// Contents, up to a limit.
#[derive(Debug)]
struct ContentList {
    contents: Vec<StoredContent>,
    /// Number of bytes that may still be added.
    left: usize,
}

impl ContentList {
    fn new(max: usize) -> Self {
        Self { contents: Vec::new(), left: max }
    }

    /// Adds a content. `None` if the list is full.
    fn push(&mut self, content: StoredContent) -> Option<()> {
        let bytes = match &content {
            StoredContent::Object { .. } => 0,
            StoredContent::Short(bytes) => bytes.len(),
        };
        self.left = self.left.checked_sub(size_of::<StoredContent>() + bytes)?;
        self.contents.push(content);
        Some(())
    }
}

impl<'s> WholeBlob<'s> {
    /// Watches the contents that go to a sink. `None` if there is too much to keep.
    pub(super) fn new(sink: &'s dyn LayerSink, positions: ChunkedPositions) -> Option<Self> {
        let contents = Mutex::new(Some(ContentList::new(CONTENTS_MAX)));
        (positions.range().len() <= KEPT_MAX).then(|| Self { sink, positions, bytes: Mutex::default(), contents })
    }

    /// Watches the bytes of the blob.
    pub(super) fn reader<'b>(&'b self, input: Box<dyn Read + Send + 'b>) -> Box<dyn Read + Send + 'b> {
        Box::new(KeptRange { input, at: 0, range: self.positions.range(), kept: &self.bytes })
    }

    /// Adds the contents to the table, if the TOC and the contents fit together. What is wrong in the TOC makes wrong
    /// places, which are noticed before they are used.
    pub(super) fn add_to(self, table: &mut ContentTable) {
        let Some(contents) = into_inner(self.contents) else { return };
        let layer = ChunkedLayer::new(&self.positions, &into_inner(self.bytes), &ChunkedLimits::default());
        if let Ok(layer) = layer {
            table.add_contents(layer.toc(), &contents.contents);
        }
    }

    fn push(&self, content: StoredContent) {
        let mut contents = lock(&self.contents);
        if contents.as_mut().is_some_and(|contents| contents.push(content).is_none()) {
            *contents = None;
        }
    }
}

impl LayerSink for WholeBlob<'_> {
    fn algorithm(&self) -> Algorithm {
        self.sink.algorithm()
    }

    fn put(&self, size: u64, content: &mut dyn io::BufRead) -> Result<Digest, Error> {
        let object = self.sink.put(size, content)?;
        self.push(StoredContent::Object { object, size });
        Ok(object)
    }

    fn put_pieces(&self, write: &mut dyn FnMut(&mut dyn PieceSink) -> io::Result<()>) -> Result<Digest, Error> {
        // A sparse file, which is stored as it is in the archive and expanded. They are rare.
        *lock(&self.contents) = None;
        self.sink.put_pieces(write)
    }

    fn short(&self, content: &[u8]) {
        self.push(StoredContent::Short(content.to_vec()));
    }
}

/// Passes on bytes and keeps those of a range.
struct KeptRange<'b> {
    input: Box<dyn Read + Send + 'b>,
    at: u64,
    range: ByteRange,
    kept: &'b Mutex<Vec<u8>>,
}

impl Read for KeptRange<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        let index = |offset: u64| usize::try_from(offset.saturating_sub(self.at)).unwrap_or(usize::MAX).min(len);
        let (start, end) = (index(self.range.start), index(self.range.end));
        if start < end {
            lock(self.kept).extend_from_slice(&buffer[start..end]);
        }
        self.at += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_contents_ends_at_its_limit() {
        let short = |len| StoredContent::Short(vec![0; len]);
        let max = 10 * (size_of::<StoredContent>() + 64);
        let mut list = ContentList::new(max);
        assert!((0..10).all(|_| list.push(short(64)).is_some()));
        assert!(list.push(short(0)).is_none());
        assert_eq!(list.contents.len(), 10);
        let mut list = ContentList::new(max);
        assert!((0..10).all(|_| list.push(short(0)).is_some()));
        assert!(list.push(short(0)).is_some(), "short contents leave room");
    }
}
