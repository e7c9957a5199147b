//! Sends the layers, several at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use libcomposefs_content::mutex::{into_inner, lock};

use super::plan::{LayerWay, PlannedLayer, PushPlan};
use super::recompress::compress;
use super::watched::WatchedContent;
use super::{PushError, PushOptions, PushProgress, PushedLayer};
use crate::BlobDigest;
use crate::destination::{BlobContent, BlobOutcome, BlobPlace, ImageDestination};

/// A distinct layer at the destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentLayer {
    /// The number of the layer in the plan.
    planned: usize,
    pub(super) digest: BlobDigest,
    pub(super) size: u64,
    outcome: BlobOutcome,
}

impl SentLayer {
    pub(super) fn pushed(&self, diff_id: BlobDigest) -> PushedLayer {
        PushedLayer { diff_id, digest: self.digest, size: self.size, outcome: self.outcome }
    }
}

/// What the jobs of all layers share.
struct SendJobs<'a> {
    plan: &'a PushPlan<'a>,
    count: usize,
    destination: &'a dyn ImageDestination,
    options: &'a PushOptions,
    progress: &'a dyn PushProgress,
    failed: AtomicBool,
}

/// Sends the layers, and returns them in the order of the image. The first error ends it.
pub(super) fn send(
    plan: &PushPlan<'_>,
    destination: &dyn ImageDestination,
    options: &PushOptions,
    progress: &dyn PushProgress,
) -> Result<Vec<SentLayer>, PushError> {
    let count = plan.order.len();
    let jobs = SendJobs { plan, count, destination, options, progress, failed: AtomicBool::new(false) };
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Result<SentLayer, PushError>>> = Mutex::default();
    let work = || {
        while !jobs.failed.load(Ordering::Relaxed) {
            let planned = next.fetch_add(1, Ordering::Relaxed);
            let Some(layer) = jobs.plan.layers.get(planned) else { return };
            let result = jobs.send_layer(planned, layer);
            let mut results = lock(&results);
            // What ends because another layer has failed is not the reason.
            if result.is_ok() || !jobs.failed.swap(true, Ordering::Relaxed) {
                results.push(result);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..options.parallel.min(plan.layers.len()) {
            // If no thread can be started, the others do the work.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    options.check()?;
    let sent: Vec<SentLayer> = into_inner(results).into_iter().collect::<Result<_, _>>()?;
    let find = |planned: &usize| sent.iter().find(|sent| sent.planned == *planned).copied();
    Ok(plan.order.iter().filter_map(find).collect())
}

impl SendJobs<'_> {
    fn send_layer(&self, planned: usize, layer: &PlannedLayer<'_>) -> Result<SentLayer, PushError> {
        self.options.check()?;
        let PlannedLayer { number, digest, size, .. } = *layer;
        if let LayerWay::Present = layer.way {
            return Ok(SentLayer { planned, digest, size, outcome: BlobOutcome::Present });
        }
        self.progress.layer(number, &layer.diff_id, size);
        let sent = match &layer.way {
            LayerWay::Present => (digest, size, BlobOutcome::Present),
            LayerWay::Send(content) => (digest, size, self.put(number, &digest, size, Some(&**content))?),
            LayerWay::Mount(content) => (digest, size, self.put(number, &digest, size, content.as_deref())?),
            LayerWay::Compress(archive) => self.compress(layer, archive)?,
        };
        self.progress.done(number);
        let (digest, size, outcome) = sent;
        Ok(SentLayer { planned, digest, size, outcome })
    }

    fn watched<'w>(&'w self, number: usize, content: &'w dyn BlobContent) -> WatchedContent<'w> {
        let flags = [&*self.options.cancelled, &self.failed];
        WatchedContent { content, number, progress: self.progress, flags }
    }

    fn put(
        &self,
        number: usize,
        digest: &BlobDigest,
        size: u64,
        content: Option<&dyn BlobContent>,
    ) -> Result<BlobOutcome, PushError> {
        let watched = content.map(|content| self.watched(number, content));
        let content = watched.as_ref().map(|watched| watched as &dyn BlobContent);
        Ok(self.destination.put(digest, size, content)?)
    }

    /// Compresses the archive of a layer, and sends the blob if the destination does not have it.
    fn compress(
        &self,
        layer: &PlannedLayer<'_>,
        archive: &dyn BlobContent,
    ) -> Result<(BlobDigest, u64, BlobOutcome), PushError> {
        let (number, count, directory) = (layer.number, self.count, &self.options.spool);
        let compression = self.options.recompress.unwrap_or_default();
        let failed = |source| PushError::Compress {
            number: number + 1,
            count,
            diff_id: layer.diff_id,
            directory: directory.display().to_string(),
            source,
        };
        let (blob, found) = compress(&self.watched(number, archive), compression, directory).map_err(failed)?;
        if found != layer.diff_id {
            return Err(PushError::Archive { number: number + 1, count, expected: layer.diff_id, found });
        }
        let (digest, size) = (blob.digest, blob.size);
        if self.destination.find(&digest, size)? == BlobPlace::Here {
            return Ok((digest, size, BlobOutcome::Present));
        }
        self.progress.layer(number, &layer.diff_id, size);
        Ok((digest, size, self.put(number, &digest, size, Some(&blob))?))
    }
}

/// Sends a document, if the destination does not have it.
pub(super) fn put_bytes(
    destination: &dyn ImageDestination,
    digest: &BlobDigest,
    bytes: &[u8],
    options: &PushOptions,
) -> Result<(), PushError> {
    options.check()?;
    if destination.find(digest, bytes.len() as u64)? != BlobPlace::Here {
        destination.put(digest, bytes.len() as u64, Some(&bytes))?;
    }
    Ok(())
}
