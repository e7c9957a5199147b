//! SHA-256 of a few messages in the SHA unit, without AVX.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi8, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
};

use crate::constants::{H256, K256, padding};

/// `N` messages of one length, a multiple of 64, by turns in the SHA unit: one alone waits for each of its rounds.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub(crate) fn sha256_shani<const N: usize>(messages: [&[u8]; N], hashes: &mut Vec<u8>) {
    let mut states = [initial_state(); N];
    let mut chunks = messages.map(|message| message.as_chunks::<64>().0.iter());
    for _ in 0..messages[0].len() / 64 {
        compress(&mut states, std::array::from_fn(|lane| chunks[lane].next().expect("messages of one length")));
    }
    let padding = padding::<64>(messages[0].len() as u64);
    compress(&mut states, [&padding; N]);
    for state in states {
        hashes.extend_from_slice(&hash_of(state));
    }
}

/// The two registers of the instructions: words A, B, E, F and C, D, G, H, the first in the highest lane.
type State = [__m128i; 2];

#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: sixteen bytes are read from a reference to sixteen bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn words(words: [u32; 4]) -> __m128i {
    let mut bytes = [0; 16];
    for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    load(&bytes)
}

#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn initial_state() -> State {
    let [a, b, c, d, e, f, g, h] = H256;
    [words([f, e, b, a]), words([h, g, d, c])]
}

#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn hash_of([abef, cdgh]: State) -> [u8; 32] {
    let feba = _mm_shuffle_epi32(abef, 0x1b);
    let dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    let dcba = _mm_blend_epi16(feba, dchg, 0xf0);
    let hgfe = _mm_alignr_epi8(dchg, feba, 8);
    let mut hash = [0; 32];
    let (low, high) = hash.split_at_mut(16);
    for (half, register) in [(low, dcba), (high, hgfe)] {
        // SAFETY: sixteen bytes are written to a slice of sixteen; the store needs no alignment.
        unsafe { _mm_storeu_si128(half.as_mut_ptr().cast(), register) };
        for word in half.as_chunks_mut::<4>().0 {
            word.reverse();
        }
    }
    hash
}

/// Four rounds of every stream. `T` is the group's number, 0 to 15.
#[inline(always)]
fn rounds<const T: usize, const N: usize>(states: &mut [State; N], w: &mut [[__m128i; 4]; N], k: __m128i) {
    // SAFETY: only called from `compress`, which has the CPU's features.
    unsafe {
        for lane in 0..N {
            let [abef, cdgh] = states[lane];
            let wk = _mm_add_epi32(w[lane][T % 4], k);
            let new_cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
            let new_abef = _mm_sha256rnds2_epu32(abef, new_cdgh, _mm_shuffle_epi32(wk, 0x0e));
            states[lane] = [new_abef, new_cdgh];
        }
        if T < 12 {
            for w in w.iter_mut() {
                let (w1, w2, w3) = (w[(T + 1) % 4], w[(T + 2) % 4], w[(T + 3) % 4]);
                let first = _mm_add_epi32(_mm_sha256msg1_epu32(w[T % 4], w1), _mm_alignr_epi8(w3, w2, 4));
                w[T % 4] = _mm_sha256msg2_epu32(first, w3);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn compress<const N: usize>(states: &mut [State; N], chunks: [&[u8; 64]; N]) {
    let swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    let mut w: [[__m128i; 4]; N] = [[swap; 4]; N];
    for lane in 0..N {
        for (i, bytes) in chunks[lane].as_chunks::<16>().0.iter().enumerate() {
            w[lane][i] = _mm_shuffle_epi8(load(bytes), swap);
        }
    }
    let before = *states;
    macro_rules! group {
        ($($t:literal)*) => {$(
            let k = &K256[4 * $t..];
            rounds::<$t, N>(states, &mut w, words([k[0], k[1], k[2], k[3]]));
        )*};
    }
    group!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    for (state, before) in states.iter_mut().zip(before) {
        *state = [_mm_add_epi32(state[0], before[0]), _mm_add_epi32(state[1], before[1])];
    }
}
