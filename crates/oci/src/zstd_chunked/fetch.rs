//! Fetching byte ranges of a blob: what a transport must offer, and a file that does.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use super::ByteRange;

/// Fetches byte ranges of one blob.
pub trait RangeFetcher {
    /// Returns the number of ranges that one request may ask for, at least 1.
    fn ranges_per_request(&self) -> usize;

    /// Returns a reader of the bytes of these ranges, one after the other and without anything between. Each list is
    /// to be one request. All ranges are in ascending order and do not overlap.
    ///
    /// # Errors
    ///
    /// If the blob cannot be fetched. Reading fails if the transport gave fewer bytes, or other ranges.
    fn fetch<'f>(&'f mut self, requests: &'f [Vec<ByteRange>]) -> io::Result<Box<dyn Read + 'f>>;
}

/// A blob that is a file.
#[derive(Debug)]
pub struct FileRanges {
    file: File,
    ranges_per_request: usize,
    /// Number of requests so far.
    pub requests: u64,
    /// Number of bytes of all ranges so far.
    pub bytes: u64,
}

impl FileRanges {
    /// Takes the file of a blob.
    #[must_use]
    pub fn new(file: File, ranges_per_request: usize) -> Self {
        Self { file, ranges_per_request, requests: 0, bytes: 0 }
    }
}

impl RangeFetcher for FileRanges {
    fn ranges_per_request(&self) -> usize {
        self.ranges_per_request
    }

    fn fetch<'f>(&'f mut self, requests: &'f [Vec<ByteRange>]) -> io::Result<Box<dyn Read + 'f>> {
        self.requests += requests.len() as u64;
        self.bytes += requests.iter().flatten().map(|range| range.len()).sum::<u64>();
        let ranges = requests.iter().flatten().copied();
        Ok(Box::new(RangeReader { file: &self.file, ranges, at: ByteRange { start: 0, end: 0 } }))
    }
}

struct RangeReader<'f, I> {
    file: &'f File,
    ranges: I,
    /// The rest of the present range.
    at: ByteRange,
}

impl<I: Iterator<Item = ByteRange>> Read for RangeReader<'_, I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at.is_empty() {
            let Some(next) = self.ranges.next() else { return Ok(0) };
            self.at = next;
        }
        let len = usize::try_from(self.at.len()).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..len], self.at.start)?;
        if read == 0 && len > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at.start += read as u64;
        Ok(read)
    }
}
