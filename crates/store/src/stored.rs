//! Objects that earlier batches of this process have stored: a later batch need not read them again.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use libcomposefs_content::mutex::into_inner;
use libcomposefs_image::digest::Digest;

use crate::batch::{Batch, Summary};
use crate::error::Error;
use crate::object_dir::ObjectDir;

/// Objects that batches have written or verified, and synced. [`Batch::finish_stored`] makes it, and [`Batch::rely_on`]
/// has another batch use it.
#[derive(Debug)]
pub struct StoredObjects<'s> {
    store: &'s ObjectDir,
    digests: HashSet<Digest>,
}

impl<'s> StoredObjects<'s> {
    /// Starts without objects.
    #[must_use]
    pub fn none(store: &'s ObjectDir) -> Self {
        Self { store, digests: HashSet::new() }
    }

    /// Adds the objects of another batch of the same store. Those of another store are left out.
    pub fn extend(&mut self, other: StoredObjects<'s>) {
        if std::ptr::eq(self.store, other.store) {
            self.digests.extend(other.digests);
        }
    }

    /// Returns the number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Returns true if there are no objects.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }
}

impl<'s> Batch<'s> {
    /// Like [`finish`](Self::finish), and returns the objects of the batch. If storing one of them has failed before,
    /// none is returned.
    ///
    /// # Errors
    ///
    /// As [`finish`](Self::finish).
    pub fn finish_stored(mut self) -> Result<(Summary, StoredObjects<'s>), Error> {
        let (store, seen) = (self.store, std::mem::take(&mut self.seen));
        let has_failed = self.has_failed.load(Ordering::Relaxed);
        let summary = self.finish()?;
        let mut stored = StoredObjects::none(store);
        if !has_failed {
            stored.digests.extend(seen.into_iter().flat_map(into_inner));
        }
        Ok((summary, stored))
    }

    /// Takes objects for intact that other batches of this process have stored in the same store. The caller protects
    /// them from the gc from before they were stored until this batch has ended.
    pub fn rely_on(&self, stored: &StoredObjects<'s>) {
        if std::ptr::eq(self.store, stored.store) {
            for digest in &stored.digests {
                self.shard(digest).insert(*digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use libcomposefs_image::digest::Algorithm;

    use super::*;
    use crate::policy::StorePolicy;

    fn store(path: &std::path::Path) -> ObjectDir {
        ObjectDir::create(path, Algorithm::Sha256, StorePolicy::default()).unwrap()
    }

    #[test]
    fn a_batch_relies_on_what_another_one_stored_in_the_same_store() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (store(&dir.path().join("a")), store(&dir.path().join("b")));
        let batch = first.batch();
        let (digest, _) = batch.put_bytes(b"content").unwrap();
        let (summary, stored) = batch.finish_stored().unwrap();
        assert_eq!((summary.new, stored.len()), (1, 1));
        // Only a batch that reads the object again sees the damage.
        fs::remove_file(first.path_of(&digest)).unwrap();
        fs::write(first.path_of(&digest), b"damaged content").unwrap();
        let (reads, relies, other) = (first.batch(), first.batch(), second.batch());
        relies.rely_on(&stored);
        other.rely_on(&stored);
        assert!(!reads.contains(&digest, 7).unwrap());
        assert!(relies.contains(&digest, 7).unwrap());
        assert!(!other.contains(&digest, 7).unwrap());
    }

    #[test]
    fn a_batch_that_has_failed_vouches_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir.path().join("objects"));
        // A directory under the name of the second object.
        let bad = libcomposefs_image::verity::digest(Algorithm::Sha256, b"other");
        fs::create_dir_all(store.path_of(&bad)).unwrap();
        let batch = store.batch();
        let (digest, _) = batch.put_bytes(b"content").unwrap();
        assert!(batch.put_bytes(b"other").is_err());
        let (summary, stored) = batch.finish_stored().unwrap();
        assert!(summary.new == 1 && stored.is_empty() && store.path_of(&digest).exists());
    }
}
