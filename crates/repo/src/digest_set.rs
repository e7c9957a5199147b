//! Sets of many digests in little memory: a million SHA-256 digests take 32 MB and a table of a few more.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use libcomposefs_image::{Algorithm, Digest};

/// A set of digests of one algorithm.
#[derive(Debug)]
pub(crate) struct DigestSet {
    algorithm: Algorithm,
    len: usize,
    /// The digests, one after the other.
    bytes: Vec<u8>,
    /// Indexes of the digests, by hash. The hasher is seeded at random: chosen digests cannot be made to collide.
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl DigestSet {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let (table, hasher) = (HashTable::new(), DefaultHashBuilder::default());
        Self { algorithm, len: algorithm.digest_len(), bytes: Vec::new(), table, hasher }
    }

    /// Adds a digest, and returns whether it is new.
    pub(crate) fn insert(&mut self, digest: &Digest) -> bool {
        self.insert_raw(digest.as_bytes())
    }

    /// Adds a digest by its bytes, and returns whether it is new. Bytes of another length are not added.
    pub(crate) fn insert_raw(&mut self, raw: &[u8]) -> bool {
        if raw.len() != self.len || self.contains_raw(raw) {
            return false;
        }
        // 32-bit indexes are enough for 137 GB of digests.
        let Ok(place) = u32::try_from(self.count()) else { return false };
        self.bytes.extend_from_slice(raw);
        let Self { len, bytes, table, hasher, .. } = self;
        let hash = |place: &u32| hasher.hash_one(&bytes[*place as usize * *len..][..*len]);
        table.insert_unique(hasher.hash_one(raw), place, hash);
        true
    }

    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.contains_raw(digest.as_bytes())
    }

    pub(crate) fn contains_raw(&self, raw: &[u8]) -> bool {
        let at = |place: &u32| self.bytes.get(*place as usize * self.len..).and_then(|rest| rest.get(..self.len));
        raw.len() == self.len && self.table.find(self.hasher.hash_one(raw), |place| at(place) == Some(raw)).is_some()
    }

    /// Returns the algorithm of all digests.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns all digests, in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Digest> + '_ {
        self.bytes.chunks_exact(self.len).filter_map(|raw| Digest::new(self.algorithm, raw))
    }

    /// Returns the number of digests.
    pub(crate) fn count(&self) -> usize {
        self.bytes.len() / self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = |n: u32| {
                let mut raw = vec![7; algorithm.digest_len()];
                raw[..4].copy_from_slice(&n.to_le_bytes());
                Digest::new(algorithm, &raw).unwrap()
            };
            let mut set = DigestSet::new(algorithm);
            for n in 0..5000 {
                assert!(set.insert(&digest(n)));
                assert!(!set.insert(&digest(n / 2)));
            }
            assert_eq!(set.count(), 5000);
            assert!(set.iter().eq((0..5000).map(digest)));
            assert!((0..5000).all(|n| set.contains(&digest(n))));
            assert!(!set.contains(&digest(5000)));
            assert!(!set.contains_raw(b"short") && !set.insert_raw(b"short"));
        }
    }
}
