//! Publication of finished layers while others are still read, so that a pull that is repeated after a cut finds them.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use libcomposefs_content::mutex::lock;
use libcomposefs_image::Digest;
use libcomposefs_repo::{RepositoryError, Transaction};

use crate::BlobDigest;
use crate::stored::stream_name;
use crate::stream::StreamKind;

/// Time from the end of a layer to its publication. A pull that is done by then syncs its layers once, all together.
const DELAY: Duration = Duration::from_secs(2);

/// The finished layers of a transaction that have no name yet.
#[derive(Debug)]
pub(super) struct Checkpoints<'t, 'r> {
    transaction: &'t Transaction<'r>,
    state: Mutex<CheckpointState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct CheckpointState {
    waiting: Vec<FinishedLayer>,
    /// When the oldest of them was finished.
    since: Option<Instant>,
    /// Set when no further layer comes.
    is_ended: bool,
    failed: Option<RepositoryError>,
}

/// A layer that was read and verified, and whose stream is in the batch of the transaction.
#[derive(Debug)]
pub(super) struct FinishedLayer {
    pub(super) diff_id: BlobDigest,
    /// The object of its stream.
    pub(super) stream: Digest,
    pub(super) objects: Vec<Digest>,
}

impl<'t, 'r> Checkpoints<'t, 'r> {
    pub(super) fn new(transaction: &'t Transaction<'r>) -> Self {
        Self { transaction, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Adds a layer.
    pub(super) fn add(&self, layer: FinishedLayer) {
        let mut state = lock(&self.state);
        state.waiting.push(layer);
        state.since.get_or_insert_with(Instant::now);
        self.changed.notify_one();
    }

    /// Publishes layers when their time has come, until the guard of
    /// [`ended_on_drop`](Self::ended_on_drop) is dropped.
    pub(super) fn run(&self) {
        let mut state = lock(&self.state);
        while !state.is_ended && state.failed.is_none() {
            let left = state.since.map(|since| DELAY.saturating_sub(since.elapsed()));
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    let waiting = state.take();
                    drop(state);
                    let published = self.publish(waiting);
                    let mut state = lock(&self.state);
                    state.failed = published.err();
                    state
                }
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
                }
            };
        }
    }

    /// Returns a guard that ends [`run`](Self::run) when it is dropped, also by a panic.
    pub(super) fn ended_on_drop(&self) -> CheckpointsEnd<'_, 't, 'r> {
        CheckpointsEnd(self)
    }

    /// Returns the error of a publication. The batch has lost objects then.
    pub(super) fn finish(self) -> Result<(), RepositoryError> {
        lock(&self.state).failed.take().map_or(Ok(()), Err)
    }

    /// Publishes the layers that wait, after a pull has failed. An error here would hide the one of the pull.
    pub(super) fn publish_rest(self) {
        let waiting = lock(&self.state).take();
        let _ = self.publish(waiting);
    }

    /// Writes layers to disk, then gives them their names.
    fn publish(&self, layers: Vec<FinishedLayer>) -> Result<(), RepositoryError> {
        if layers.is_empty() {
            return Ok(());
        }
        self.transaction.batch().flush()?;
        let mut own = self.transaction.repository().transaction()?;
        for FinishedLayer { diff_id, stream, objects } in layers {
            // The lease of the pull protects all of it.
            own.add_stored_stream(stream_name(StreamKind::Layer(diff_id)), stream, objects);
        }
        own.commit().map(drop)
    }
}

/// Ends the thread of the checkpoints when it is dropped.
pub(super) struct CheckpointsEnd<'c, 't, 'r>(&'c Checkpoints<'t, 'r>);

impl Drop for CheckpointsEnd<'_, '_, '_> {
    fn drop(&mut self) {
        lock(&self.0.state).is_ended = true;
        self.0.changed.notify_one();
    }
}

impl CheckpointState {
    fn take(&mut self) -> Vec<FinishedLayer> {
        self.since = None;
        std::mem::take(&mut self.waiting)
    }
}
