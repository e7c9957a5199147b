//! Kernels for 64-bit ARM.
//!
//! How many messages go by turns follows from the 32 vector registers: six are taken by each message of SHA-256, twelve
//! by each of SHA-512. It is not yet measured on a real CPU.
#![allow(unsafe_code)]

use std::arch::aarch64::{
    uint8x16_t, uint32x4_t, uint64x2_t, vaddq_u32, vaddq_u64, vextq_u64, vld1q_u8, vld1q_u32, vld1q_u64,
    vreinterpretq_u8_u32, vreinterpretq_u8_u64, vreinterpretq_u32_u8, vreinterpretq_u64_u8, vrev32q_u8, vrev64q_u8,
    vsha256h2q_u32, vsha256hq_u32, vsha256su0q_u32, vsha256su1q_u32, vsha512h2q_u64, vsha512hq_u64, vsha512su0q_u64,
    vsha512su1q_u64, vst1q_u8,
};

use crate::constants::{H256, H512, K256, K512, padding};

/// `N` messages of one length, a multiple of 64, by turns in the SHA unit: one alone waits for each of its rounds.
#[target_feature(enable = "neon,sha2")]
pub(crate) fn sha256<const N: usize>(messages: [&[u8]; N], hashes: &mut Vec<u8>) {
    let initial = H256.as_chunks::<4>().0;
    let mut states = [[load32(&initial[0]), load32(&initial[1])]; N];
    let mut chunks = messages.map(|message| message.as_chunks::<64>().0.iter());
    for _ in 0..messages[0].len() / 64 {
        compress256(&mut states, std::array::from_fn(|lane| chunks[lane].next().expect("messages of one length")));
    }
    let padding = padding::<64>(messages[0].len() as u64);
    compress256(&mut states, [&padding; N]);
    for half in states.as_flattened() {
        hashes.extend_from_slice(&bytes(vrev32q_u8(vreinterpretq_u8_u32(*half))));
    }
}

/// As [`sha256`], with the instructions for SHA-512 and lengths that are a multiple of 128.
#[target_feature(enable = "neon,sha3")]
pub(crate) fn sha512<const N: usize>(messages: [&[u8]; N], hashes: &mut Vec<u8>) {
    let initial = H512.as_chunks::<2>().0;
    let mut states: [State512; N] = [std::array::from_fn(|pair| load64(&initial[pair])); N];
    let mut chunks = messages.map(|message| message.as_chunks::<128>().0.iter());
    for _ in 0..messages[0].len() / 128 {
        compress512(&mut states, std::array::from_fn(|lane| chunks[lane].next().expect("messages of one length")));
    }
    let padding = padding::<128>(messages[0].len() as u64);
    compress512(&mut states, [&padding; N]);
    for pair in states.as_flattened() {
        hashes.extend_from_slice(&bytes(vrev64q_u8(vreinterpretq_u8_u64(*pair))));
    }
}

/// Words A, B, C, D and E, F, G, H, the first in the lowest lane.
type State256 = [uint32x4_t; 2];
/// Words A, B and C, D and E, F and G, H, the first in the lower lane.
type State512 = [uint64x2_t; 4];

#[inline]
#[target_feature(enable = "neon")]
fn load32(words: &[u32; 4]) -> uint32x4_t {
    // SAFETY: four words are read from a reference to four words.
    unsafe { vld1q_u32(words.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load64(words: &[u64; 2]) -> uint64x2_t {
    // SAFETY: two words are read from a reference to two words.
    unsafe { vld1q_u64(words.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: sixteen bytes are read from a reference to sixteen bytes; the load needs no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn bytes(register: uint8x16_t) -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: sixteen bytes are written to an array of sixteen; the store needs no alignment.
    unsafe { vst1q_u8(bytes.as_mut_ptr(), register) };
    bytes
}

#[inline]
#[target_feature(enable = "neon,sha2")]
fn compress256<const N: usize>(states: &mut [State256; N], chunks: [&[u8; 64]; N]) {
    let mut w: [[uint32x4_t; 4]; N] = chunks.map(|chunk| {
        let words = chunk.as_chunks::<16>().0;
        std::array::from_fn(|i| vreinterpretq_u32_u8(vrev32q_u8(load(&words[i]))))
    });
    let before = *states;
    // Four rounds of every stream; unrolled, so that the words of the message stay in registers.
    macro_rules! rounds {
        ($($t:literal)*) => {$(
            let k = load32(&K256.as_chunks::<4>().0[$t]);
            for (state, w) in states.iter_mut().zip(&mut w) {
                let [abcd, efgh] = *state;
                let wk = vaddq_u32(w[$t % 4], k);
                *state = [vsha256hq_u32(abcd, efgh, wk), vsha256h2q_u32(efgh, abcd, wk)];
                if $t < 12 {
                    let first = vsha256su0q_u32(w[$t % 4], w[($t + 1) % 4]);
                    w[$t % 4] = vsha256su1q_u32(first, w[($t + 2) % 4], w[($t + 3) % 4]);
                }
            }
        )*};
    }
    rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    for (state, before) in states.iter_mut().zip(before) {
        *state = [vaddq_u32(state[0], before[0]), vaddq_u32(state[1], before[1])];
    }
}

#[inline]
#[target_feature(enable = "neon,sha3")]
fn compress512<const N: usize>(states: &mut [State512; N], chunks: [&[u8; 128]; N]) {
    let mut w: [[uint64x2_t; 8]; N] = chunks.map(|chunk| {
        let words = chunk.as_chunks::<16>().0;
        std::array::from_fn(|i| vreinterpretq_u64_u8(vrev64q_u8(load(&words[i]))))
    });
    let before = *states;
    // Two rounds of every stream.
    macro_rules! rounds {
        ($($t:literal)*) => {$(
            let k = load64(&K512.as_chunks::<2>().0[$t]);
            for (state, w) in states.iter_mut().zip(&mut w) {
                let [ab, cd, ef, gh] = *state;
                let wk = vaddq_u64(w[$t % 8], k);
                // The instructions want the later round's words in the lower lane.
                let t1 = vaddq_u64(gh, vextq_u64::<1>(wk, wk));
                let t1 = vsha512hq_u64(t1, vextq_u64::<1>(ef, gh), vextq_u64::<1>(cd, ef));
                *state = [vsha512h2q_u64(t1, cd, ab), ab, vaddq_u64(cd, t1), ef];
                if $t < 32 {
                    let first = vsha512su0q_u64(w[$t % 8], w[($t + 1) % 8]);
                    let seventh = vextq_u64::<1>(w[($t + 4) % 8], w[($t + 5) % 8]);
                    w[$t % 8] = vsha512su1q_u64(first, w[($t + 7) % 8], seventh);
                }
            }
        )*};
    }
    rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
    rounds!(20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
    for (state, before) in states.iter_mut().zip(before) {
        *state = std::array::from_fn(|pair| vaddq_u64(state[pair], before[pair]));
    }
}
