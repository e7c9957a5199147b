//! A blob that is rebuilt while it is read.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::sync::Arc;

use zstd::stream::read::Decoder;

use super::rebuilder::{GzipRebuilder, RecordParts};
use super::work::WorkLimit;
use super::{BlobMethod, BlobRecord, BlobRecordError, WINDOW_LOG};

/// A compressed part of a record.
type PartReader = BufReader<Decoder<'static, BufReader<PartBytes>>>;

/// Rebuilds a blob from its record and its archive, while it is read. Size and digest are not compared:
/// [`rebuild`](super::rebuild) and [`open_blob`](crate::blob::open_blob) do that.
pub struct RebuiltBlob<A> {
    method: RebuildMethod<A>,
    out: Vec<u8>,
    at: usize,
}

enum RebuildMethod<A> {
    Plain(A),
    Gzip(Box<GzipRebuilder<PartReader, A>>),
}

impl<A> fmt::Debug for RebuiltBlob<A> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RebuiltBlob").finish_non_exhaustive()
    }
}

impl<A: Read> RebuiltBlob<A> {
    /// Begins to rebuild a blob.
    ///
    /// # Errors
    ///
    /// If the record is damaged, or has a version or method that is not known.
    pub fn new(record: Vec<u8>, archive: A) -> Result<Self, BlobRecordError> {
        let parsed = BlobRecord::parse(&record)?;
        let (method, ranges) = (parsed.method, parsed.part_ranges());
        let work = WorkLimit::new(parsed.blob_size);
        let method = match method {
            BlobMethod::Plain => RebuildMethod::Plain(archive),
            BlobMethod::Gzip => {
                let bytes = Arc::new(record);
                let [heads, differences, streams] = ranges.map(|range| part(&bytes, range));
                let parts = RecordParts { heads: heads?, differences: differences?, streams: streams? };
                RebuildMethod::Gzip(Box::new(GzipRebuilder::new(parts, archive, work)))
            }
            BlobMethod::Zstd => return Err(BlobRecordError::Damaged("its method is not known")),
        };
        Ok(Self { method, out: Vec::new(), at: 0 })
    }
}

impl<A: Read> Read for RebuiltBlob<A> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rebuilder = match &mut self.method {
            RebuildMethod::Plain(archive) => return archive.read(buffer),
            RebuildMethod::Gzip(rebuilder) => rebuilder,
        };
        if self.at == self.out.len() && !buffer.is_empty() {
            self.at = 0;
            rebuilder.next(&mut self.out)?;
        }
        let rest = self.out.get(self.at..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

/// The bytes of a part.
struct PartBytes {
    record: Arc<Vec<u8>>,
    left: Range<usize>,
}

impl Read for PartBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.record.get(self.left.clone()).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.left.start += len;
        Ok(len)
    }
}

/// Begins to read a compressed part.
fn part(record: &Arc<Vec<u8>>, left: Range<usize>) -> io::Result<PartReader> {
    let mut decoder = Decoder::new(PartBytes { record: Arc::clone(record), left })?;
    decoder.window_log_max(WINDOW_LOG)?;
    Ok(BufReader::with_capacity(16 << 10, decoder))
}
