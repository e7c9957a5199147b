//! The objects that a pull adds by transactions beside its own: those of layers whose blobs are kept, and the blobs.

use std::sync::atomic::{AtomicU64, Ordering};

use libcomposefs_repo::{RepositoryError, Transaction};

/// Counts of the objects that were new.
#[derive(Debug, Default)]
pub(super) struct AddedObjects {
    count: AtomicU64,
    bytes: AtomicU64,
}

impl AddedObjects {
    /// Commits a transaction, and counts its objects.
    pub(super) fn commit(&self, own: Transaction<'_>) -> Result<(), RepositoryError> {
        let objects = own.commit()?.objects;
        self.count.fetch_add(objects.new, Ordering::Relaxed);
        self.bytes.fetch_add(objects.bytes_written, Ordering::Relaxed);
        Ok(())
    }

    /// Returns the number of objects, and of their bytes.
    pub(super) fn total(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}
