//! Importing a layer by a partial pull.

use std::fs::File;
use std::io::Read as _;

use super::contents::{OpenSource, PlannedContents};
use super::fetched::FetchedRanges;
use super::limits::ChunkedLimits;
use super::spool::ChunkSpool;
use super::{
    ByteRange, ChunkedError, ChunkedLayer, ChunkedPositions, LocalContents, NotPartial, PullPlan, RangeFetcher,
};
use crate::BlobDigest;
use crate::layer::{ImportedLayer, LayerSink, import_layer};
use crate::tar_split::{ArchiveRebuilder, Origins};

/// A layer to be pulled in parts.
#[derive(Clone, Copy, Debug)]
pub struct ChunkedSource<'s> {
    /// The positions, from the annotations of the layer's descriptor.
    pub positions: &'s ChunkedPositions,
    /// The diff ID of the layer in the configuration of the image.
    pub diff_id: Option<BlobDigest>,
    /// The limits.
    pub limits: ChunkedLimits,
}

/// A layer that was pulled in parts.
#[derive(Debug)]
pub struct ChunkedImport {
    /// The layer. Its diff ID was compared with the expected one.
    pub imported: ImportedLayer,
    /// The table of contents, verified.
    pub layer: ChunkedLayer,
    /// The contents that are kept in the stream, by their SHA-256; the sink has not seen them.
    pub short: Vec<(BlobDigest, Vec<u8>)>,
    /// Number of requests.
    pub requests: u64,
    /// Number of bytes that were fetched.
    pub fetched: u64,
    /// Number of bytes of contents that were here, after decompression.
    pub reused: u64,
}

/// Imports a layer of which only the missing contents are fetched. Like [`import_layer`] it gives nothing a name.
///
/// `origins` tells an [`OriginSink`](crate::tar_split::OriginSink) where the contents come from. `spool` is an empty
/// temporary file for chunks that the archive has more than once.
///
/// # Errors
///
/// If the layer cannot be pulled in parts ([`ChunkedError::NotPartial`]: pull the whole blob), or bytes cannot be
/// fetched or stored.
pub fn import_chunked(
    source: &ChunkedSource<'_>,
    fetcher: &mut dyn RangeFetcher,
    local: &mut dyn LocalContents,
    sink: &dyn LayerSink,
    origins: &Origins<'_>,
    spool: File,
) -> Result<ChunkedImport, ChunkedError> {
    let expected = source.diff_id.ok_or(NotPartial::NoDiffId)?;
    let limits = &source.limits;
    limits.check("the TOC", &source.positions.toc)?;
    limits.check("the tar-split data", &source.positions.tar_split)?;
    limits.check_fetched(source.positions.range().len())?;
    let (bytes, before) = fetch_positions(source.positions, fetcher)?;
    let layer = ChunkedLayer::new(source.positions, &bytes, limits)?;
    drop(bytes);

    let plan = PullPlan::new(&layer, &mut |digest, size| local.contains(digest, size));
    let requests = plan.requests(fetcher.ranges_per_request());
    let ranges: Vec<ByteRange> = requests.iter().flatten().copied().collect();
    let fetched = before + ranges.iter().map(|range| range.len()).sum::<u64>();
    limits.check_fetched(fetched)?;
    let input: Box<dyn std::io::Read + '_> = if ranges.is_empty() {
        Box::new(std::io::empty())
    } else {
        fetcher.fetch(&requests).map_err(ChunkedError::Fetch)?
    };
    let contents = PlannedContents {
        layer: &layer,
        plan: &plan,
        local,
        fetched: FetchedRanges::new(input, ranges, layer.window_log()).map_err(ChunkedError::Fetch)?,
        spool: ChunkSpool::new(spool),
        file: None,
        source: OpenSource::None,
        hasher: None,
        short: Vec::new(),
        shorts: Vec::new(),
        error: None,
    };
    let mut archive = ArchiveRebuilder::new(layer.tar_split()?, contents, origins);
    let imported = match import_layer(&mut archive, sink, limits.tar, limits.archive) {
        Ok(imported) => imported,
        Err(error) => {
            return Err(match (archive.contents().error.take(), archive.take_error()) {
                (Some(error), _) => error,
                (None, Some(error)) => NotPartial::TarSplit(error).into(),
                (None, None) => error.into(),
            });
        }
    };
    let short = std::mem::take(&mut archive.contents().shorts);
    drop(archive);
    if imported.diff_id != expected {
        return Err(NotPartial::DiffId { expected, found: imported.diff_id }.into());
    }
    let (requests, reused) = (1 + requests.len() as u64, plan.reused_bytes());
    Ok(ChunkedImport { imported, layer, short, requests, fetched, reused })
}

/// Fetches the TOC and the tar-split data. Returns the bytes of the range that has both, and the number of bytes that
/// were fetched.
///
/// Both are side by side, but the request names them as two ranges: the answer shows whether the server can send
/// several ranges, before the plan is made.
fn fetch_positions(
    positions: &ChunkedPositions,
    fetcher: &mut dyn RangeFetcher,
) -> Result<(Vec<u8>, u64), ChunkedError> {
    let whole = positions.range();
    let mut request = [vec![whole]];
    if fetcher.ranges_per_request() > 1 {
        request[0] = vec![positions.toc.range, positions.tar_split.range];
        request[0].sort_unstable();
    }
    let mut reader = fetcher.fetch(&request).map_err(ChunkedError::Fetch)?;
    let (mut bytes, mut fetched) = (Vec::new(), 0u64);
    for range in &request[0] {
        // What is between the two has no meaning.
        let gap = (range.start - whole.start).saturating_sub(bytes.len() as u64);
        bytes.resize(bytes.len() + usize::try_from(gap).unwrap_or_default(), 0);
        let read = (&mut reader).take(range.len()).read_to_end(&mut bytes).map_err(ChunkedError::Fetch)?;
        if read as u64 != range.len() {
            return Err(ChunkedError::Fetch(std::io::ErrorKind::UnexpectedEof.into()));
        }
        fetched += range.len();
    }
    Ok((bytes, fetched))
}
