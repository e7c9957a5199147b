//! The open objects: as many as the limit on open files allows, those opened first leave first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use libcomposefs_content::mutex::lock;

use super::object::VerifiedObject;

/// Parts of the cache that threads lock separately.
const SHARDS: usize = 16;

/// The largest number of objects that are kept open.
const MAX_OPEN: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct ObjectCache {
    shards: Vec<Mutex<CacheShard>>,
    shard_capacity: usize,
}

#[derive(Debug, Default)]
struct CacheShard {
    objects: HashMap<u64, Arc<VerifiedObject>>,
    order: VecDeque<u64>,
}

impl ObjectCache {
    pub(super) fn new(capacity: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, shard_capacity: (capacity.min(MAX_OPEN) / SHARDS).max(1) }
    }

    /// Returns the object of a node, after opening it if it is not open.
    pub(super) fn get_or_open<E>(
        &self,
        node: u64,
        open: impl FnOnce() -> Result<VerifiedObject, E>,
    ) -> Result<Arc<VerifiedObject>, E> {
        if let Some(object) = self.shard(node).and_then(|shard| shard.objects.get(&node).cloned()) {
            return Ok(object);
        }
        // Two threads may open the same object; the second one finds the first one's.
        let object = Arc::new(open()?);
        let Some(mut shard) = self.shard(node) else { return Ok(object) };
        if let Some(first) = shard.objects.get(&node) {
            return Ok(Arc::clone(first));
        }
        while shard.objects.len() >= self.shard_capacity {
            let Some(oldest) = shard.order.pop_front() else { break };
            shard.objects.remove(&oldest);
        }
        shard.objects.insert(node, Arc::clone(&object));
        shard.order.push_back(node);
        Ok(object)
    }

    /// Closes the object of a node, if it is open.
    pub(super) fn remove(&self, node: u64) {
        if let Some(mut shard) = self.shard(node)
            && shard.objects.remove(&node).is_some()
        {
            shard.order.retain(|&other| other != node);
        }
    }

    /// Closes all objects that no thread is reading.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            *lock(shard) = CacheShard::default();
        }
    }

    fn shard(&self, node: u64) -> Option<MutexGuard<'_, CacheShard>> {
        // Nodes are numbers of inodes, which are as near to each other as the inodes are.
        let index = (node.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize % SHARDS;
        self.shards.get(index).map(lock)
    }
}
