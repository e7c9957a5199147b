//! SHA-2 over many blocks at once.
//!
//! A Merkle tree hashes thousands of independent 4096-byte blocks; that is the hot loop of composefs. This crate has
//! the kernels for the CPUs, chooses the fastest one at run time, and confines their unsafe code.
//!
//! ```
//! use libcomposefs_hash::{BLOCK_SIZE, Family, hash_blocks, hash_message};
//!
//! let mut hashes = Vec::new();
//! hash_blocks(Family::Sha256, &[0; 2 * BLOCK_SIZE], &mut hashes);
//! assert_eq!(hashes.len(), 2 * Family::Sha256.hash_len());
//! assert_eq!(hashes[..32], hash_message(Family::Sha256, &[0; BLOCK_SIZE])[..32]);
//! ```
// SHA-2 is big-endian; everything else in this project is not.
#![allow(clippy::big_endian_bytes)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod constants;
mod kernel;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use kernel::Kernel;

/// The block size of every Merkle tree in this project, in bytes.
pub const BLOCK_SIZE: usize = 4096;

/// A member of the SHA-2 family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// SHA-256, with digests of 32 bytes.
    Sha256,
    /// SHA-512, with digests of 64 bytes.
    Sha512,
}

impl Family {
    /// The length of one hash in bytes.
    #[must_use]
    pub const fn hash_len(self) -> usize {
        match self {
            Family::Sha256 => 32,
            Family::Sha512 => 64,
        }
    }
}

/// Messages of one length are hashed several at a time only if it is a multiple of this, the larger of the family's two
/// chunk sizes.
const MESSAGE_UNIT: usize = 128;

/// Hashes each block of `data` and appends the hashes, in order, to `hashes`. A last block that is shorter than
/// [`BLOCK_SIZE`] is filled up with zeros.
pub fn hash_blocks(family: Family, data: &[u8], hashes: &mut Vec<u8>) {
    Kernel::best(family).hash_blocks(family, data, hashes);
}

/// Hashes each of the messages of `len` bytes that `messages` consists of, and appends the hashes, in order, to
/// `hashes`. Lengths that are a multiple of 128 are the fast ones.
///
/// # Panics
///
/// If `messages` is not a whole number of messages, or `len` is 0.
pub fn hash_messages(family: Family, len: usize, messages: &[u8], hashes: &mut Vec<u8>) {
    Kernel::best(family).hash_messages(family, len, messages, hashes);
}

/// Hashes one message of any length and returns the hash, left-aligned in 64 bytes.
#[must_use]
pub fn hash_message(family: Family, message: &[u8]) -> [u8; 64] {
    portable::hash_message(family, message)
}
