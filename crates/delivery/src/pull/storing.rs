//! Objects that arrive are stored in batches: those of a complete batch stay, whatever happens to the pull.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use libcomposefs_content::mutex::lock;
use libcomposefs_image::Digest;
use libcomposefs_repo::{Lease, Repository, RepositoryError};
use libcomposefs_store::{Batch, Error, GcGuard, StoredObjects};

/// A batch is ended when this number of bytes is in it.
const BATCH_BYTES: u64 = 32 << 20;

/// A lease that lets a batch end when the operation is cancelled: what arrived is kept.
#[derive(Debug)]
pub(crate) struct KeepingGuard(pub(crate) Lease);

impl GcGuard for KeepingGuard {
    fn protect(&self, digests: &[Digest]) -> Result<(), Error> {
        self.0.protect(digests)
    }

    fn proceed(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Stores objects that several threads receive.
pub(super) struct ArrivingObjects<'r> {
    repository: &'r Repository,
    guard: Arc<KeepingGuard>,
    batch: Mutex<Option<Arc<Batch<'r>>>>,
    bytes: AtomicU64,
    /// Objects of the batches that have ended.
    stored: Mutex<StoredObjects<'r>>,
    /// Number of objects that were added.
    pub(super) new: AtomicU64,
}

impl<'r> ArrivingObjects<'r> {
    pub(super) fn begin(repository: &'r Repository) -> Result<Self, RepositoryError> {
        Ok(Self::with_guard(repository, Arc::new(KeepingGuard(repository.lease()?))))
    }

    /// Begins with a lease that exists.
    pub(super) fn with_guard(repository: &'r Repository, guard: Arc<KeepingGuard>) -> Self {
        let (batch, bytes, new) = (Mutex::new(None), AtomicU64::new(0), AtomicU64::new(0));
        let stored = Mutex::new(StoredObjects::none(repository.objects()));
        Self { repository, guard, batch, bytes, stored, new }
    }

    /// Calls `store` with the batch, to which it adds `bytes` bytes.
    pub(super) fn store<E: From<Error>>(
        &self,
        bytes: u64,
        store: impl FnOnce(&Batch<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let batch = {
            let mut current = lock(&self.batch);
            let begin = || Arc::new(self.repository.objects().batch_guarded(self.guard.clone()));
            Arc::clone(current.get_or_insert_with(begin))
        };
        let stored = store(&batch);
        if self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) >= BATCH_BYTES {
            let mut current = lock(&self.batch);
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &batch)) {
                self.bytes.store(0, Ordering::Relaxed);
                *current = None;
            }
        }
        // The last thread that uses a batch ends it.
        let ended = Arc::into_inner(batch).map_or(Ok(()), |batch| self.end(batch));
        stored.and(ended.map_err(E::from))
    }

    fn end(&self, batch: Batch<'r>) -> Result<(), Error> {
        let (summary, stored) = batch.finish_stored()?;
        lock(&self.stored).extend(stored);
        self.new.fetch_add(summary.new, Ordering::Relaxed);
        Ok(())
    }

    /// Has another batch rely on all that was stored. `self` protects it from the gc, and must outlive that batch.
    pub(super) fn vouch(&self, batch: &Batch<'r>) {
        batch.rely_on(&lock(&self.stored));
    }

    /// Ends the last batch.
    pub(super) fn finish(&self) -> Result<(), Error> {
        let last = lock(&self.batch).take();
        last.and_then(Arc::into_inner).map_or(Ok(()), |batch| self.end(batch))
    }
}
