//! Kernels for x86-64: the SHA unit, the SHA unit with AVX, AVX2, and AVX-512.

pub(crate) mod avx2_sha512;
pub(crate) mod avx512_sha256;
pub(crate) mod avx512_sha512;
pub(crate) mod sha_ni;
pub(crate) mod sha_ni_avx;

use crate::constants::K256;

/// The constants of the SHA-256 rounds, followed by the shuffle that turns bytes into big-endian words.
#[repr(C, align(16))]
struct RoundConstants {
    rounds: [u32; 64],
    swap: [u8; 16],
}

static CONSTANTS: RoundConstants =
    RoundConstants { rounds: K256, swap: [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12] };
