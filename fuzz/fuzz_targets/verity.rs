//! The fs-verity digest of data that comes in any pieces, and of many contents together, beside a Merkle tree built the
//! obvious way.
#![no_main]

use composefs_fuzz::{Budget, Linear, many_blocks, reference_blocks, reference_hash};
use libcomposefs_hash::{BLOCK_SIZE, Family};
use libcomposefs_image::verity::{self, Hasher, digest_many, hash_whole_blocks};
use libcomposefs_image::{Algorithm, Digest};
use libfuzzer_sys::fuzz_target;

static BUDGET: Budget =
    Budget::new("verity", Linear { base: 1 << 20, per_byte: 8 }, Linear { base: 20_000_000, per_byte: 20_000 });

fuzz_target!(|input: &[u8]| {
    let Some((data, seed)) = many_blocks(input) else { return };
    BUDGET.check(data.len(), || compare(&data, seed));
});

fn compare(data: &[u8], seed: &[u8]) {
    for (algorithm, family) in [(Algorithm::Sha256, Family::Sha256), (Algorithm::Sha512, Family::Sha512)] {
        let want = obvious(algorithm, family, data);
        assert_eq!(verity::digest(algorithm, data), want, "{} bytes at once", data.len());
        let hasher = in_pieces(algorithm, data, seed);
        assert_eq!(hasher.len(), data.len() as u64);
        assert_eq!(hasher.finish(), want, "{} bytes in pieces", data.len());
        many_together(algorithm, family, data, seed);
    }
}

/// Each byte of the seed determines the length of a piece, and whether its whole blocks are hashed beforehand where
/// that is possible.
fn in_pieces(algorithm: Algorithm, data: &[u8], seed: &[u8]) -> Hasher {
    let mut hasher = Hasher::new(algorithm);
    let mut rest = data;
    for &byte in seed {
        let (piece, after) = rest.split_at(rest.len().min(usize::from(byte) * 97));
        if byte % 2 == 1 && hasher.len().is_multiple_of(BLOCK_SIZE as u64) {
            let mut hashes = Vec::new();
            let left = hash_whole_blocks(algorithm, piece, &mut hashes);
            hasher.update_hashed(&hashes);
            hasher.update(left);
        } else {
            hasher.update(piece);
        }
        rest = after;
    }
    hasher.update(rest);
    hasher
}

/// Each byte of the seed determines the length of a content, up to four blocks; one in four is empty or a block.
fn many_together(algorithm: Algorithm, family: Family, data: &[u8], seed: &[u8]) {
    let len_of = |byte: &u8| match byte % 8 {
        0 => 0,
        1 => BLOCK_SIZE,
        _ => usize::from(*byte) * 63,
    };
    let lens: Vec<usize> = seed.iter().take(10).map(len_of).filter(|len| *len <= data.len()).collect();
    let mut blocks = Vec::new();
    for &len in &lens {
        blocks.extend_from_slice(&data[data.len() - len..]);
        blocks.resize(blocks.len().next_multiple_of(BLOCK_SIZE), 0);
    }
    let want: Vec<_> = lens.iter().map(|&len| obvious(algorithm, family, &data[data.len() - len..])).collect();
    assert_eq!(digest_many(algorithm, &lens, &blocks), want, "{lens:?} bytes together");
}

/// All levels in memory, then the descriptor (`docs/format/verity.md`).
fn obvious(algorithm: Algorithm, family: Family, data: &[u8]) -> Digest {
    let mut level = reference_blocks(family, data);
    while level.len() > family.hash_len() {
        level = reference_blocks(family, &level);
    }
    let mut descriptor = vec![1, algorithm.kernel_number(), 12, 0, 0, 0, 0, 0];
    descriptor.extend_from_slice(&(data.len() as u64).to_le_bytes());
    descriptor.extend_from_slice(&level);
    descriptor.resize(256, 0);
    Digest::new(algorithm, &reference_hash(family, &descriptor)).expect("a hash of the algorithm's own length")
}
