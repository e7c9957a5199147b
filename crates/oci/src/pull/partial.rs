//! Pulling a layer in parts: only what the repository does not have is fetched (`docs/format/zstd-chunked.md`).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use libcomposefs_repo::Transaction;
use libcomposefs_sys::tempfile::Temporary;

use super::known::KnownContents;
use super::{PullOptions, PullProgress, PullWarning};
use crate::BlobDigest;
use crate::manifest::BlobRef;
use crate::source::{BlobParts, ImageSource, SourceError};
use crate::tar_split::{OriginSink, Origins};
use crate::zstd_chunked::table::StoredContents;
use crate::zstd_chunked::{
    ByteRange, ChunkedError, ChunkedImport, ChunkedLimits, ChunkedPositions, ChunkedSource, NotPartial, RangeFetcher,
    import_chunked,
};

/// The part of a blob that a partial pull may at most fetch: it must save a twentieth.
const SAVED_PART: u64 = 20;

/// The result of trying to pull a layer in parts.
pub(super) enum PartialPull {
    /// The layer was imported. Its diff ID is right.
    Imported(Box<ChunkedImport>),
    /// The whole blob must be read: from this reader, if the server has sent it in place of parts.
    Whole(Option<Box<dyn Read + Send>>),
}

/// Returns the positions of the table of contents of a blob, if it is in the format.
pub(super) fn positions(blob: &BlobRef, warnings: &mut Vec<PullWarning>) -> Option<ChunkedPositions> {
    match ChunkedPositions::from_annotations(|key| blob.annotations.get(key).map(String::as_str), blob.size) {
        Ok(positions) => positions,
        // As older programs write it.
        Err(NotPartial::NoTarSplit) => None,
        Err(error) => {
            warnings.push(PullWarning::NotPartial { blob: blob.digest, reason: error.to_string() });
            None
        }
    }
}

/// A layer that may be pulled in parts.
#[derive(Clone, Copy)]
pub(super) struct PartialLayer<'a> {
    pub(super) number: usize,
    pub(super) blob: &'a BlobRef,
    pub(super) diff_id: BlobDigest,
    pub(super) positions: &'a ChunkedPositions,
    /// Largest size of the archive, in bytes.
    pub(super) size_max: u64,
}

/// Tries to pull a layer in parts. Whatever is wrong with the parts leads to a pull of the whole blob, whose digest can
/// be checked.
pub(super) fn pull_parts(
    transaction: &Transaction<'_>,
    known: &KnownContents<'_>,
    source: &dyn ImageSource,
    layer: PartialLayer<'_>,
    options: &PullOptions,
    progress: &dyn PullProgress,
    warnings: &mut Vec<PullWarning>,
) -> Result<PartialPull, SourceError> {
    if options.whole || known.table().is_empty() {
        return Ok(PartialPull::Whole(None));
    }
    let Some(mut parts) = source.parts(layer.blob) else { return Ok(PartialPull::Whole(None)) };
    let mut counted = CountedParts { parts: &mut *parts, number: layer.number, progress };
    let error = match import(transaction, known, &mut counted, layer, options) {
        Ok(import) => return Ok(PartialPull::Imported(Box::new(import))),
        Err(error) => error,
    };
    if let Some(body) = parts.take_whole() {
        return Ok(PartialPull::Whole(Some(body)));
    }
    match error {
        // Nothing is wrong: the repository has little of the layer.
        ChunkedError::NotPartial(NotPartial::LittleIsHere { .. }) => {}
        ChunkedError::Fetch(error) if error.kind() != io::ErrorKind::InvalidData => {
            let path = format!("parts of the blob {}", layer.blob.digest);
            return Err(SourceError::Io { path, source: error });
        }
        ChunkedError::NotPartial(reason) => warnings.push(not_partial(layer.blob, &reason)),
        error => warnings.push(not_partial(layer.blob, &error)),
    }
    Ok(PartialPull::Whole(None))
}

fn not_partial(blob: &BlobRef, reason: &dyn std::fmt::Display) -> PullWarning {
    PullWarning::NotPartial { blob: blob.digest, reason: reason.to_string() }
}

fn import(
    transaction: &Transaction<'_>,
    known: &KnownContents<'_>,
    parts: &mut CountedParts<'_>,
    layer: PartialLayer<'_>,
    options: &PullOptions,
) -> Result<ChunkedImport, ChunkedError> {
    let repository = transaction.repository();
    let limits = ChunkedLimits {
        window_log: options.window_log,
        archive: layer.size_max,
        fetched: layer.blob.size - layer.blob.size / SAVED_PART,
        ..ChunkedLimits::default()
    };
    let source = ChunkedSource { positions: layer.positions, diff_id: Some(layer.diff_id), limits };
    let origins = Origins::stored_in(transaction.batch());
    let sink = OriginSink::new(transaction.batch(), &origins);
    let mut local = StoredContents::new(known.table(), repository.objects()).protected_by(transaction);
    let cache = repository.make_cache().map_err(|error| ChunkedError::Spool(io::Error::other(error)))?;
    // Its name, where it has one, is removed at the end.
    let spool = Temporary::create(&Arc::new(cache), 0o600).map_err(ChunkedError::Spool)?;
    let file = File::from(spool.as_fd().try_clone_to_owned().map_err(ChunkedError::Spool)?);
    let import = import_chunked(&source, parts, &mut local, &sink, &origins, file)?;
    known.add(|table| table.add_layer(&import, &origins.take_stored()));
    Ok(import)
}

/// Parts of a blob, reported as progress.
struct CountedParts<'p> {
    parts: &'p mut dyn BlobParts,
    number: usize,
    progress: &'p dyn PullProgress,
}

impl RangeFetcher for CountedParts<'_> {
    fn ranges_per_request(&self) -> usize {
        self.parts.ranges_per_request()
    }

    fn fetch<'f>(&'f mut self, requests: &'f [Vec<ByteRange>]) -> io::Result<Box<dyn Read + 'f>> {
        let (number, progress) = (self.number, self.progress);
        Ok(Box::new(CountedReader { input: self.parts.fetch(requests)?, number, progress }))
    }
}

struct CountedReader<'f> {
    input: Box<dyn Read + 'f>,
    number: usize,
    progress: &'f dyn PullProgress,
}

impl Read for CountedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        self.progress.bytes(self.number, len as u64);
        Ok(len)
    }
}
