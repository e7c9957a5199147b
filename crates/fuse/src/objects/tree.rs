//! The upper part of a Merkle tree: one hash for each piece of an object.
//!
//! A piece is as many blocks as one block of hashes covers: 512 KiB for SHA-256, 256 KiB for SHA-512. The hashes of the
//! pieces are kept as long as the object is open, 64 bytes for each MiB at most. Those of single blocks are in
//! [`LeafCache`](super::leaves::LeafCache): if they are not, the whole piece is read and hashed once more.

use std::sync::Arc;

use libcomposefs_image::verity::{BLOCK_SIZE, digest_of_level, hash_all_blocks};
use libcomposefs_image::{Algorithm, Digest};

/// The hashes of all pieces of an object, which led to its digest.
#[derive(Debug)]
pub(super) struct PieceHashes {
    algorithm: Algorithm,
    hashes: Vec<u8>,
}

/// The hashes of an object that is read for the first time.
#[derive(Debug)]
pub(super) struct MerkleBuilder {
    pieces: PieceHashes,
    /// Hashes of the blocks of the first pieces.
    leaves: Vec<Arc<Vec<u8>>>,
    max_leaves: usize,
}

/// Returns the length of a piece in bytes.
pub(super) fn piece_len(algorithm: Algorithm) -> usize {
    BLOCK_SIZE / algorithm.digest_len() * BLOCK_SIZE
}

impl PieceHashes {
    /// Returns true if the blocks of a piece have these hashes.
    pub(super) fn match_leaves(&self, piece: u64, leaves: &[u8]) -> bool {
        let mut hash = Vec::with_capacity(self.algorithm.digest_len());
        hash_all_blocks(self.algorithm, leaves, &mut hash);
        let len = self.algorithm.digest_len();
        let start = usize::try_from(piece).ok().and_then(|piece| piece.checked_mul(len));
        let expected = start.and_then(|start| self.hashes.get(start..start.checked_add(len)?));
        expected == Some(hash.as_slice())
    }
}

impl MerkleBuilder {
    /// A tree without pieces. The hashes of blocks are kept for `max_leaves` pieces.
    pub(super) fn new(algorithm: Algorithm, max_leaves: usize) -> Self {
        Self { pieces: PieceHashes { algorithm, hashes: Vec::new() }, leaves: Vec::new(), max_leaves }
    }

    /// Adds the next piece.
    pub(super) fn add(&mut self, content: &[u8]) {
        let mut leaves = Vec::new();
        hash_all_blocks(self.pieces.algorithm, content, &mut leaves);
        hash_all_blocks(self.pieces.algorithm, &leaves, &mut self.pieces.hashes);
        if self.leaves.len() < self.max_leaves {
            self.leaves.push(Arc::new(leaves));
        }
    }

    /// Compares the tree with the digest of a content of `len` bytes, which is longer than a block.
    pub(super) fn finish(self, digest: &Digest, len: u64) -> Option<(PieceHashes, Vec<Arc<Vec<u8>>>)> {
        let found = digest_of_level(self.pieces.algorithm, len, &self.pieces.hashes);
        (found == *digest).then_some((self.pieces, self.leaves))
    }
}

#[cfg(test)]
mod tests {
    use libcomposefs_image::verity;

    use super::*;

    #[test]
    fn pieces_lead_to_the_digest() {
        let content: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for algorithm in Algorithm::ALL {
            for len in [4097, 8192, 262_144, 262_145, 524_288, 524_289, 1 << 20, 3_000_000] {
                let content = &content[..len];
                let digest = verity::digest(algorithm, content);
                let build = |digest: &Digest, len: usize| {
                    let mut builder = MerkleBuilder::new(algorithm, 2);
                    content.chunks(piece_len(algorithm)).for_each(|piece| builder.add(piece));
                    builder.finish(digest, len as u64)
                };
                let (pieces, leaves) = build(&digest, len).expect("the digest");
                assert!(leaves.len() <= 2 && pieces.match_leaves(0, &leaves[0]), "{algorithm} {len}");
                let mut wrong = leaves[0].to_vec();
                wrong[0] ^= 1;
                assert!(!pieces.match_leaves(0, &wrong) && !pieces.match_leaves(9, &leaves[0]));
                assert!(build(&digest, len + 1).is_none());
                assert!(build(&verity::digest(algorithm, b"other"), len).is_none());
            }
        }
    }
}
