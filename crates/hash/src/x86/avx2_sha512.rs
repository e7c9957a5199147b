//! SHA-512 of four messages, one in each lane of AVX2, for CPUs without AVX-512.
//!
//! AVX2 has no rotation of words: two shifts stand for one, so that four lanes take the time of about two messages.
//! A chunk of every message is a matrix with a message in each row; the rounds want one word of every message in a
//! register, so the matrix is transposed, by shuffles.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_loadu_si256, _mm256_or_si256, _mm256_permute2x128_si256,
    _mm256_set_epi8, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi64,
    _mm256_srli_epi64, _mm256_storeu_si256, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use crate::constants::{H512, K512, padding};

/// Hashes messages of one length, a multiple of 128.
#[target_feature(enable = "avx2")]
pub(crate) fn sha512(messages: [&[u8]; 4], hashes: &mut Vec<u8>) {
    let mut state = H512.map(|word| _mm256_set1_epi64x(word.cast_signed()));
    let mut chunks = messages.map(|message| message.as_chunks::<128>().0.iter());
    for _ in 0..messages[0].len() / 128 {
        compress(&mut state, std::array::from_fn(|lane| chunks[lane].next().expect("messages of one length")));
    }
    let padding = padding::<128>(messages[0].len() as u64);
    compress(&mut state, [&padding; 4]);
    let words = state.map(|register| {
        let mut words = [0_u64; 4];
        // SAFETY: 32 bytes are written to an array of 32; the store needs no alignment.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), register) };
        words
    });
    for lane in 0..4 {
        words.iter().for_each(|word| hashes.extend_from_slice(&word[lane].to_be_bytes()));
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn compress(state: &mut [__m256i; 8], chunks: [&[u8; 128]; 4]) {
    let mut w = transposed(chunks);
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    // The majority of a, b and c is ((a ^ b) & (b ^ c)) ^ b, and a ^ b is the next round's b ^ c.
    let mut b_xor_c = _mm256_xor_si256(b, c);
    macro_rules! round {
        ($t:expr, $place:literal) => {{
            let k = _mm256_set1_epi64x(K512[$t + $place].cast_signed());
            let hwk = _mm256_add_epi64(_mm256_add_epi64(h, w[$place]), k);
            let choice = _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)));
            let a_xor_b = _mm256_xor_si256(a, b);
            let majority = _mm256_xor_si256(b, _mm256_and_si256(a_xor_b, b_xor_c));
            b_xor_c = a_xor_b;
            let t1 = _mm256_add_epi64(_mm256_add_epi64(hwk, choice), sigma::<14, 50, 18, 46, 41, 23>(e));
            let t2 = _mm256_add_epi64(sigma::<28, 36, 34, 30, 39, 25>(a), majority);
            (h, g, f, e, d, c, b, a) = (g, f, e, _mm256_add_epi64(d, t1), c, b, a, _mm256_add_epi64(t1, t2));
        }};
    }
    macro_rules! made {
        ($t:expr, $place:literal) => {{
            let s0 = sigma_0(w[($place + 1) % 16]);
            let s1 = sigma_1(w[($place + 14) % 16]);
            let sum = _mm256_add_epi64(w[$place], w[($place + 9) % 16]);
            w[$place] = _mm256_add_epi64(sum, _mm256_add_epi64(s0, s1));
            round!($t, $place);
        }};
    }
    macro_rules! sixteen {
        ($what:ident $t:expr; $($place:literal)*) => { $($what!($t, $place);)* };
    }
    sixteen!(round 0; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    for t in [16, 32, 48, 64] {
        sixteen!(made t; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    }
    for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = _mm256_add_epi64(*word, new);
    }
}

/// Rotates to the right by `RIGHT`; `LEFT` is 64 less `RIGHT`.
#[inline]
#[target_feature(enable = "avx2")]
fn rotated<const RIGHT: i32, const LEFT: i32>(x: __m256i) -> __m256i {
    const { assert!(RIGHT + LEFT == 64) };
    _mm256_or_si256(_mm256_srli_epi64::<RIGHT>(x), _mm256_slli_epi64::<LEFT>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn sigma<const A: i32, const AL: i32, const B: i32, const BL: i32, const C: i32, const CL: i32>(x: __m256i) -> __m256i {
    _mm256_xor_si256(_mm256_xor_si256(rotated::<A, AL>(x), rotated::<B, BL>(x)), rotated::<C, CL>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn sigma_0(x: __m256i) -> __m256i {
    let by_8 = both_halves([1, 2, 3, 4, 5, 6, 7, 0, 9, 10, 11, 12, 13, 14, 15, 8]);
    let rotations = _mm256_xor_si256(rotated::<1, 63>(x), _mm256_shuffle_epi8(x, by_8));
    _mm256_xor_si256(rotations, _mm256_srli_epi64::<7>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn sigma_1(x: __m256i) -> __m256i {
    let rotations = _mm256_xor_si256(rotated::<19, 45>(x), rotated::<61, 3>(x));
    _mm256_xor_si256(rotations, _mm256_srli_epi64::<6>(x))
}

/// A shuffle of the bytes of each half.
#[inline]
#[target_feature(enable = "avx2")]
fn both_halves(from: [i8; 16]) -> __m256i {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = from;
    _mm256_set_epi8(p, o, n, m, l, k, j, i, h, g, f, e, d, c, b, a, p, o, n, m, l, k, j, i, h, g, f, e, d, c, b, a)
}

/// Four words of the other byte order.
#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32], swap: __m256i) -> __m256i {
    // SAFETY: 32 bytes are read from a reference to 32 bytes; the load needs no alignment.
    let words = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
    _mm256_shuffle_epi8(words, swap)
}

/// Word `i` of each row, for all `i`.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(rows: [&[u8; 128]; 4]) -> [__m256i; 16] {
    let swap = both_halves([7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8]);
    let mut words = [_mm256_setzero_si256(); 16];
    for (quarter, words) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let [p, q, r, s] = rows.map(|row| load(&row.as_chunks::<32>().0[quarter], swap));
        // In each half, a word of two rows.
        let (pq02, pq13) = (_mm256_unpacklo_epi64(p, q), _mm256_unpackhi_epi64(p, q));
        let (rs02, rs13) = (_mm256_unpacklo_epi64(r, s), _mm256_unpackhi_epi64(r, s));
        *words = [
            _mm256_permute2x128_si256::<0x20>(pq02, rs02),
            _mm256_permute2x128_si256::<0x20>(pq13, rs13),
            _mm256_permute2x128_si256::<0x31>(pq02, rs02),
            _mm256_permute2x128_si256::<0x31>(pq13, rs13),
        ];
    }
    words
}
