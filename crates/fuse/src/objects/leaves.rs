//! Hashes of blocks that were verified, in one cache for all objects.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use libcomposefs_content::mutex::lock;

/// The number of pieces whose hashes are kept: 64 MiB, the hashes of 8 GiB of content.
const CAPACITY: usize = 16 << 10;

/// The number of pieces of one object that are kept while its tree is computed.
pub(super) const OBJECT_CAPACITY: usize = CAPACITY / 4;

/// An object and the number of one of its pieces.
type PieceKey = (u64, u64);

#[derive(Debug, Default)]
pub(super) struct LeafCache {
    pieces: Mutex<ReadPieces>,
}

#[derive(Debug, Default)]
struct ReadPieces {
    hashes: HashMap<PieceKey, Arc<Vec<u8>>>,
    order: VecDeque<PieceKey>,
}

impl LeafCache {
    /// Returns the hashes of the blocks of a piece.
    pub(super) fn get(&self, object: u64, piece: u64) -> Option<Arc<Vec<u8>>> {
        lock(&self.pieces).hashes.get(&(object, piece)).cloned()
    }

    /// Keeps the hashes of the blocks of a piece, which were verified.
    pub(super) fn insert(&self, object: u64, piece: u64, leaves: Arc<Vec<u8>>) {
        let mut pieces = lock(&self.pieces);
        if pieces.hashes.insert((object, piece), leaves).is_some() {
            return;
        }
        pieces.order.push_back((object, piece));
        while pieces.hashes.len() > CAPACITY {
            let Some(oldest) = pieces.order.pop_front() else { break };
            pieces.hashes.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded() {
        let cache = LeafCache::default();
        for piece in 0..CAPACITY as u64 + 10 {
            cache.insert(1, piece, Arc::default());
        }
        assert!(cache.get(1, 9).is_none() && cache.get(1, 10).is_some());
        assert_eq!(lock(&cache.pieces).order.len(), CAPACITY);
    }
}
