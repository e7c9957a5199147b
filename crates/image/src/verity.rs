//! The fs-verity digest of a stream of bytes: `docs/format/verity.md`.
//!
//! The kernel computes the same digest when fs-verity is enabled on a file (`fs/verity/`). The parameters are those of
//! composefs: 4096-byte blocks, no salt.
//!
//! ```
//! use libcomposefs_image::verity::{self, Hasher};
//! use libcomposefs_image::Algorithm;
//!
//! let digest = verity::digest(Algorithm::Sha256, b"hello\n");
//! // The same in pieces, for a content that does not fit in memory.
//! let mut hasher = Hasher::new(Algorithm::Sha256);
//! hasher.update(b"hel");
//! hasher.update(b"lo\n");
//! assert_eq!(hasher.finish(), digest);
//! assert_eq!(digest.object_path().len(), 2 + 1 + 62);
//! ```

pub use libcomposefs_hash::BLOCK_SIZE;
use libcomposefs_hash::{hash_blocks, hash_message, hash_messages};

use crate::digest::{Algorithm, Digest};

/// The length of the descriptor whose hash is the digest (`struct fsverity_descriptor`).
pub const DESCRIPTOR_LEN: usize = 256;

/// Computes the digest of bytes given piece by piece, in memory that does not grow with them.
#[derive(Clone, Debug)]
pub struct Hasher {
    algorithm: Algorithm,
    len: u64,
    /// The unfinished block of data, shorter than [`BLOCK_SIZE`].
    pending: Vec<u8>,
    /// The unfinished block of hashes of each tree level, the one over the data first.
    levels: Vec<Vec<u8>>,
    /// Hashes of the data blocks of one call, kept to spare the allocation.
    fresh: Vec<u8>,
}

impl Hasher {
    /// A hasher that has seen no byte yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, len: 0, pending: Vec::new(), levels: Vec::new(), fresh: Vec::new() }
    }

    /// Appends `data`. Whole blocks are hashed straight from it; pieces of many blocks are the fastest.
    pub fn update(&mut self, mut data: &[u8]) {
        self.len += data.len() as u64;
        if !self.pending.is_empty() {
            let (head, rest) = data.split_at(data.len().min(BLOCK_SIZE - self.pending.len()));
            self.pending.extend_from_slice(head);
            data = rest;
            if self.pending.len() < BLOCK_SIZE {
                return;
            }
            let block = std::mem::take(&mut self.pending);
            self.hash_data(&block);
            self.pending = block;
            self.pending.clear();
        }
        let (whole, rest) = data.split_at(data.len() - data.len() % BLOCK_SIZE);
        self.hash_data(whole);
        self.pending.extend_from_slice(rest);
    }

    /// Appends `len` zeros in a time logarithmic in `len`: all blocks of zeros have the same hash, and so have all tree
    /// blocks above them.
    pub fn update_zeros(&mut self, len: u64) {
        const ZEROS: [u8; BLOCK_SIZE] = [0; BLOCK_SIZE];
        let room = if self.pending.is_empty() { 0 } else { BLOCK_SIZE - self.pending.len() };
        let head = usize::try_from(len).unwrap_or(BLOCK_SIZE).min(room);
        self.update(&ZEROS[..head]);
        let len = len - head as u64;
        let blocks = len / BLOCK_SIZE as u64;
        if blocks > 0 {
            let mut hash = Vec::with_capacity(self.algorithm.digest_len());
            hash_blocks(self.algorithm.family(), &ZEROS, &mut hash);
            self.push_equal(hash, blocks);
            self.len += blocks * BLOCK_SIZE as u64;
        }
        self.update(&ZEROS[..(len % BLOCK_SIZE as u64) as usize]);
    }

    fn hash_data(&mut self, blocks: &[u8]) {
        let mut fresh = std::mem::take(&mut self.fresh);
        hash_blocks(self.algorithm.family(), blocks, &mut fresh);
        self.push_all(&fresh);
        fresh.clear();
        self.fresh = fresh;
    }

    /// Appends whole blocks whose hashes [`hash_whole_blocks`] has computed already, so that several threads can share
    /// the work of one file.
    ///
    /// # Panics
    ///
    /// If the length of the bytes so far is not a multiple of the block size: nothing can follow a partial block.
    pub fn update_hashed(&mut self, hashes: &[u8]) {
        assert!(self.pending.is_empty(), "hashed blocks follow whole blocks");
        self.len += (hashes.len() / self.algorithm.digest_len() * BLOCK_SIZE) as u64;
        self.push_all(hashes);
    }

    fn push_all(&mut self, hashes: &[u8]) {
        for hash in hashes.chunks_exact(self.algorithm.digest_len()) {
            self.push(0, hash);
        }
    }

    /// Adds a hash to a tree level. A block that is full is hashed into the level above only when another hash
    /// follows it: a level of exactly one block is the top one, and its hash the root.
    fn push(&mut self, level: usize, hash: &[u8]) {
        if level == self.levels.len() {
            self.levels.push(Vec::with_capacity(BLOCK_SIZE));
        }
        if self.levels[level].len() == BLOCK_SIZE {
            self.close_block(level);
        }
        self.levels[level].extend_from_slice(hash);
    }

    /// Adds the same hash `count` times to the lowest tree level. All blocks that only this hash fills have the same
    /// hash too, so these are added to the level above in the same way.
    fn push_equal(&mut self, mut hash: Vec<u8>, mut count: u64) {
        let per_block = BLOCK_SIZE / hash.len();
        for level in 0.. {
            // The block that is begun is filled first.
            while count > 0 && self.levels.get(level).is_none_or(|block| !block.is_empty()) {
                self.push(level, &hash);
                count -= 1;
                if self.levels[level].len() == BLOCK_SIZE && count > 0 {
                    self.close_block(level);
                }
            }
            if count == 0 {
                return;
            }
            // As in `push`, the last block stays open, even if it is full.
            let full = (count - 1) / per_block as u64;
            let rest = (count - full * per_block as u64) as usize;
            self.levels[level] = hash.repeat(rest);
            let block = hash.repeat(per_block);
            hash.clear();
            hash_blocks(self.algorithm.family(), &block, &mut hash);
            count = full;
        }
    }

    fn close_block(&mut self, level: usize) {
        let mut block = std::mem::take(&mut self.levels[level]);
        let mut hash = Vec::with_capacity(self.algorithm.digest_len());
        hash_blocks(self.algorithm.family(), &block, &mut hash);
        self.push(level + 1, &hash);
        block.clear();
        self.levels[level] = block;
    }

    /// The number of bytes seen so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns `true` if no byte was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The digest of all the bytes seen.
    #[must_use]
    pub fn finish(mut self) -> Digest {
        if !self.pending.is_empty() {
            let block = std::mem::take(&mut self.pending);
            self.hash_data(&block);
        }
        let hash_len = self.algorithm.digest_len();
        let mut level = 0;
        while level < self.levels.len() && (level + 1 < self.levels.len() || self.levels[level].len() > hash_len) {
            self.close_block(level);
            level += 1;
        }
        // An empty file has no tree: its root hash is all zeros.
        let root = self.levels.last().map_or(&[][..], Vec::as_slice);
        digest_of_root(self.algorithm, self.len, root)
    }
}

/// The digest of a file of this length whose tree has this root hash: the hash of the descriptor that says so.
fn digest_of_root(algorithm: Algorithm, len: u64, root: &[u8]) -> Digest {
    let hash = hash_message(algorithm.family(), &descriptor(algorithm, len, root));
    Digest::new(algorithm, &hash[..algorithm.digest_len()]).expect("a hash of the algorithm's own length")
}

fn descriptor(algorithm: Algorithm, len: u64, root: &[u8]) -> [u8; DESCRIPTOR_LEN] {
    let mut descriptor = [0; DESCRIPTOR_LEN];
    descriptor[0] = 1;
    descriptor[1] = algorithm.kernel_number();
    descriptor[2] = BLOCK_SIZE.trailing_zeros() as u8;
    descriptor[8..16].copy_from_slice(&len.to_le_bytes());
    descriptor[16..16 + root.len()].copy_from_slice(root);
    descriptor
}

/// Computes the digests of several small contents together: for a file of one block, the second hash has to wait for
/// the first, which leaves a core's SHA unit idle.
///
/// `blocks` holds the contents one after the other, each padded with zeros to whole blocks of [`BLOCK_SIZE`]; `lens`
/// are their lengths without padding.
///
/// # Panics
///
/// If the length of `blocks` differs from that of the padded contents.
#[must_use]
pub fn digest_many(algorithm: Algorithm, lens: &[usize], blocks: &[u8]) -> Vec<Digest> {
    let (family, hash_len) = (algorithm.family(), algorithm.digest_len());
    let mut counts: Vec<usize> = lens.iter().map(|len| len.div_ceil(BLOCK_SIZE)).collect();
    assert_eq!(blocks.len(), counts.iter().sum::<usize>() * BLOCK_SIZE, "every content fills whole blocks");
    let mut hashes = Vec::new();
    hash_blocks(family, blocks, &mut hashes);
    // One tree level after the other, of all trees together, until each has but its root. An empty content has no hash.
    while counts.iter().any(|&count| count > 1) {
        hashes = hash_level(algorithm, &mut counts, &hashes);
    }
    let (mut descriptors, mut roots) = (Vec::with_capacity(lens.len() * DESCRIPTOR_LEN), hashes.as_slice());
    for (&len, count) in lens.iter().zip(counts) {
        let (root, rest) = roots.split_at(count * hash_len);
        descriptors.extend_from_slice(&descriptor(algorithm, len as u64, root));
        roots = rest;
    }
    let mut digests = Vec::with_capacity(lens.len() * hash_len);
    hash_messages(family, DESCRIPTOR_LEN, &descriptors, &mut digests);
    digests.chunks_exact(hash_len).map(|hash| Digest::new(algorithm, hash).expect("a hash of its own length")).collect()
}

/// Hashes the level above the `hashes` of several trees, of which each has as many as `counts` says. A tree that has no
/// more than its root keeps that.
fn hash_level(algorithm: Algorithm, counts: &mut [usize], hashes: &[u8]) -> Vec<u8> {
    let hash_len = algorithm.digest_len();
    let (mut blocks, mut rest) = (Vec::new(), hashes);
    for count in counts.iter() {
        let (own, others) = rest.split_at(count * hash_len);
        if *count > 1 {
            blocks.extend_from_slice(own);
            blocks.resize(blocks.len().next_multiple_of(BLOCK_SIZE), 0);
        }
        rest = others;
    }
    let (mut above, mut all) = (Vec::new(), Vec::with_capacity(hashes.len()));
    hash_blocks(algorithm.family(), &blocks, &mut above);
    let (mut above, mut rest) = (above.as_slice(), hashes);
    for count in counts {
        let (own, others) = rest.split_at(*count * hash_len);
        rest = others;
        if *count > 1 {
            *count = own.len().div_ceil(BLOCK_SIZE);
            let (new, others) = above.split_at(*count * hash_len);
            all.extend_from_slice(new);
            above = others;
        } else {
            all.extend_from_slice(own);
        }
    }
    all
}

/// Hashes the whole blocks that `data` begins with, for [`Hasher::update_hashed`], and returns what is left over.
pub fn hash_whole_blocks<'d>(algorithm: Algorithm, data: &'d [u8], hashes: &mut Vec<u8>) -> &'d [u8] {
    let (whole, rest) = data.split_at(data.len() - data.len() % BLOCK_SIZE);
    hash_blocks(algorithm.family(), whole, hashes);
    rest
}

/// Hashes all blocks of `data`, the last of which is filled up with zeros, and appends the hashes to `hashes`: the
/// lowest level of the Merkle tree.
pub fn hash_all_blocks(algorithm: Algorithm, data: &[u8], hashes: &mut Vec<u8>) {
    hash_blocks(algorithm.family(), data, hashes);
}

/// The digest of a content of `len` bytes, given one whole level of its Merkle tree: the hashes of its blocks, or those
/// of the blocks of such a level.
#[must_use]
pub fn digest_of_level(algorithm: Algorithm, len: u64, level: &[u8]) -> Digest {
    let (mut level, mut next) = (level.to_vec(), Vec::new());
    while level.len() > algorithm.digest_len() {
        next.clear();
        hash_blocks(algorithm.family(), &level, &mut next);
        std::mem::swap(&mut level, &mut next);
    }
    digest_of_root(algorithm, len, &level)
}

/// The Merkle tree of a file and its descriptor, as a file system stores them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTree {
    /// The digest of the file: the hash of the descriptor.
    pub digest: Digest,
    /// The levels of the tree, each in whole blocks: the root's first, the hashes of the data last. Empty for a content
    /// of at most one block.
    pub levels: Vec<u8>,
    /// The descriptor (`struct fsverity_descriptor`), without a signature.
    pub descriptor: [u8; DESCRIPTOR_LEN],
}

impl StoredTree {
    /// Makes the tree of a content of `len` bytes from the hashes of its blocks.
    #[must_use]
    pub fn of_level(algorithm: Algorithm, len: u64, mut level: Vec<u8>) -> Self {
        let mut above = Vec::new();
        while level.len() > algorithm.digest_len() {
            level.resize(level.len().next_multiple_of(BLOCK_SIZE), 0);
            let mut next = Vec::new();
            hash_blocks(algorithm.family(), &level, &mut next);
            above.push(level);
            level = next;
        }
        above.reverse();
        Self {
            digest: digest_of_root(algorithm, len, &level),
            levels: above.concat(),
            descriptor: descriptor(algorithm, len, &level),
        }
    }

    /// Returns the length of the levels for a content of `len` bytes.
    #[must_use]
    pub fn levels_len(algorithm: Algorithm, len: u64) -> u64 {
        let (block, hash) = (BLOCK_SIZE as u64, algorithm.digest_len() as u64);
        let (mut hashes, mut total) = (len.div_ceil(block), 0);
        while hashes > 1 {
            hashes = (hashes * hash).div_ceil(block);
            total += hashes * block;
        }
        total
    }
}

/// The digest of bytes that are in memory.
#[must_use]
pub fn digest(algorithm: Algorithm, data: &[u8]) -> Digest {
    let mut level = Vec::new();
    hash_blocks(algorithm.family(), data, &mut level);
    digest_of_level(algorithm, data.len() as u64, &level)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree built the obvious way: all levels in memory.
    fn naive(algorithm: Algorithm, data: &[u8]) -> Digest {
        let hash_len = algorithm.digest_len();
        let mut level: Vec<u8> = data.to_vec();
        let mut first = true;
        while first && !level.is_empty() || level.len() > hash_len {
            let mut next = Vec::new();
            for chunk in level.chunks(BLOCK_SIZE) {
                let mut block = chunk.to_vec();
                block.resize(BLOCK_SIZE, 0);
                next.extend_from_slice(&hash_message(algorithm.family(), &block)[..hash_len]);
            }
            level = next;
            first = false;
        }
        let mut d = vec![1, algorithm.kernel_number(), 12, 0, 0, 0, 0, 0];
        d.extend_from_slice(&(data.len() as u64).to_le_bytes());
        d.extend_from_slice(&level);
        d.resize(DESCRIPTOR_LEN, 0);
        Digest::new(algorithm, &hash_message(algorithm.family(), &d)[..hash_len]).unwrap()
    }

    #[test]
    fn known_vectors() {
        for (data, hex) in [
            (&b""[..], "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"),
            (b"x", "dbbdfa9d606f7adeaa7f16dcfb0d49161c4cfb82d9d51cfb5cb43fa3dacb9e5b"),
            (b"content_a\n", "cc3da5b14909626fc99443f580e4d8c9b990e85e0a1d18883dc89b23d43e173f"),
            (b"content_b\n", "02927862b4ab9fb69919187bb78d394e235ce444eeb0a890d37e955827fe4bf4"),
            (
                b"",
                "ccf9e5aea1c2a64efa2f2354a6024b90dffde6bbc017825045dce374474e13d1\
                 0adb9dadcc6ca8e17a3c075fbd31336e8f266ae6fa93a6c3bed66f9e784e5abf",
            ),
        ] {
            let want = Digest::from_hex(hex).unwrap();
            assert_eq!(digest(want.algorithm(), data), want);
        }
    }

    #[test]
    fn every_length_around_a_boundary_and_every_split() {
        let data: Vec<u8> = (0..u32::try_from(130 * 128 * BLOCK_SIZE).unwrap())
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let blocks = [0, 1, 2, 63, 64, 65, 127, 128, 129, 64 * 64, 64 * 64 + 1, 128 * 128, 128 * 128 + 1];
        for algorithm in Algorithm::ALL {
            for len in
                blocks.iter().flat_map(|b| [(b * BLOCK_SIZE).saturating_sub(1), b * BLOCK_SIZE, b * BLOCK_SIZE + 1])
            {
                let want = naive(algorithm, &data[..len]);
                assert_eq!(digest(algorithm, &data[..len]), want, "{algorithm} {len}");
                let mut hasher = Hasher::new(algorithm);
                hasher.update(&data[..len]);
                assert_eq!(hasher.finish(), want, "{algorithm} {len} at once");
                for piece in [4095, 4097, 100_000] {
                    if len > 1_000_000 && piece < 100_000 {
                        continue;
                    }
                    let mut hasher = Hasher::new(algorithm);
                    data[..len].chunks(piece).for_each(|p| hasher.update(p));
                    assert_eq!(hasher.len(), len as u64);
                    assert_eq!(hasher.finish(), want, "{algorithm} {len} in pieces of {piece}");
                }
                let (mut hasher, mut hashes) = (Hasher::new(algorithm), Vec::new());
                let rest = hash_whole_blocks(algorithm, &data[..len], &mut hashes);
                hasher.update_hashed(&hashes);
                hasher.update(rest);
                assert_eq!((hasher.len(), hasher.finish()), (len as u64, want), "{algorithm} {len} hashed before");
            }
        }
    }

    #[test]
    fn zeros_by_their_number() {
        // Lengths around the boundaries of blocks and of tree blocks, with data before and after the zeros.
        let counts = [0, 1, 2, 63, 64, 65, 127, 128, 129, 200, 64 * 64 - 1, 64 * 64, 64 * 64 + 130];
        for algorithm in Algorithm::ALL {
            for head in [0, 1, 64 * 4096, 100 * 4096 + 7, 128 * 4096] {
                for zeros in counts.iter().flat_map(|count| [count * BLOCK_SIZE, count * BLOCK_SIZE + 5]) {
                    for tail in [&[][..], &[3; 4096]] {
                        let mut want = Hasher::new(algorithm);
                        want.update(&vec![7; head]);
                        want.update(&vec![0; zeros]);
                        want.update(tail);
                        let mut hasher = Hasher::new(algorithm);
                        hasher.update(&vec![7; head]);
                        hasher.update_zeros(zeros as u64 / 3);
                        hasher.update_zeros(zeros as u64 - zeros as u64 / 3);
                        hasher.update(tail);
                        let found = (hasher.len(), hasher.finish());
                        assert_eq!(found, (want.len(), want.finish()), "{algorithm} {head} {zeros} {}", tail.len());
                    }
                }
            }
            for blocks in [128 * 128, 128 * 128 + 1] {
                let mut hasher = Hasher::new(algorithm);
                hasher.update_zeros((blocks * BLOCK_SIZE) as u64);
                assert_eq!(hasher.finish(), digest(algorithm, &vec![0; blocks * BLOCK_SIZE]), "{algorithm} {blocks}");
            }
            // More than anybody can hash block by block.
            let mut hasher = Hasher::new(algorithm);
            hasher.update_zeros(u64::MAX >> 1);
            assert_eq!(hasher.len(), u64::MAX >> 1);
            let _ = hasher.finish();
        }
    }

    #[test]
    fn stored_trees_have_every_level_and_the_root_first() {
        let data: Vec<u8> = (0..300 * BLOCK_SIZE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for algorithm in Algorithm::ALL {
            for len in [0, 1, 4096, 4097, 64 * 4096, 64 * 4096 + 1, 128 * 4096, 128 * 4096 + 1, 300 * 4096] {
                let mut level = Vec::new();
                hash_all_blocks(algorithm, &data[..len], &mut level);
                let stored = StoredTree::of_level(algorithm, len as u64, level.clone());
                assert_eq!(stored.digest, naive(algorithm, &data[..len]), "{algorithm} {len}");
                assert_eq!(stored.levels.len() as u64, StoredTree::levels_len(algorithm, len as u64));
                let root = &stored.descriptor[16..16 + algorithm.digest_len()];
                if len > BLOCK_SIZE {
                    let (first, hash_len) = (&stored.levels[..BLOCK_SIZE], algorithm.digest_len());
                    assert_eq!(root, &hash_message(algorithm.family(), first)[..hash_len]);
                    level.resize(level.len().next_multiple_of(BLOCK_SIZE), 0);
                    assert!(stored.levels.ends_with(&level));
                } else {
                    assert!(stored.levels.is_empty());
                }
            }
        }
    }

    #[test]
    fn many_contents_together() {
        let data: Vec<u8> = (0..300 * BLOCK_SIZE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let lens = [0, 1, 4095, 4096, 4097, 64, 0, 40_000, 128 * 4096, 128 * 4096 + 1, 300 * 4096, 65 * 4096, 7, 0];
        for algorithm in Algorithm::ALL {
            for count in 0..=lens.len() {
                let lens = &lens[lens.len() - count..];
                let mut blocks = Vec::new();
                for &len in lens {
                    blocks.extend_from_slice(&data[..len]);
                    blocks.resize(blocks.len().next_multiple_of(BLOCK_SIZE), 0);
                }
                let want: Vec<_> = lens.iter().map(|&len| naive(algorithm, &data[..len])).collect();
                assert_eq!(digest_many(algorithm, lens, &blocks), want, "{algorithm} {lens:?}");
            }
        }
    }
}
