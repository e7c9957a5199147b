//! The objects of a batch that wait to be committed.

use std::sync::{Condvar, Mutex};

use libcomposefs_content::mutex::lock;
use libcomposefs_image::digest::Digest;

use crate::error::Error;
use crate::ingest::Temporary;

/// Upper bound of bytes that wait to be synced.
const WAITING_BYTES_MAX: u64 = 256 << 20;

/// An object that is written but not linked into the store yet.
#[derive(Debug)]
pub(crate) struct PendingObject {
    pub(crate) digest: Digest,
    pub(crate) temporary: Temporary,
    pub(crate) size: u64,
    /// Set if an existing file must be replaced; `is_wrong` is set if that file is damaged.
    pub(crate) replace: bool,
    pub(crate) is_wrong: bool,
}

/// The objects that are written but have no name yet.
#[derive(Debug)]
pub(crate) struct CommitQueue {
    pub(crate) state: Mutex<CommitState>,
    waiting_max: usize,
    /// The committer has something to do.
    pub(crate) work: Condvar,
    /// The committer has taken what waited, or has ended.
    pub(crate) taken: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct CommitState {
    pub(crate) waiting: Vec<PendingObject>,
    pub(crate) bytes: u64,
    /// A thread commits what waits when it is enough.
    pub(crate) has_committer: bool,
    /// The committer is to commit what waits, even if it is little.
    pub(crate) is_asked: bool,
    /// The committer is to end.
    pub(crate) is_ended: bool,
    /// The error of the committer, until another thread returns it.
    pub(crate) failed: Option<Error>,
}

impl CommitQueue {
    /// An empty queue, which is full when `waiting_max` objects or 256 MiB wait.
    pub(crate) fn new(waiting_max: usize) -> Self {
        Self { state: Mutex::default(), waiting_max, work: Condvar::new(), taken: Condvar::new() }
    }

    pub(crate) fn is_full(&self, state: &CommitState) -> bool {
        state.waiting.len() >= self.waiting_max || state.bytes >= WAITING_BYTES_MAX
    }

    /// Returns what waits, or the error of the committer.
    pub(crate) fn take(&self) -> Result<Vec<PendingObject>, Error> {
        let mut state = lock(&self.state);
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        let waiting = state.take();
        self.taken.notify_all();
        Ok(waiting)
    }
}

impl CommitState {
    pub(crate) fn take(&mut self) -> Vec<PendingObject> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}
