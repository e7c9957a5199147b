//! SHA-512 of eight messages, one in each lane of AVX-512.
//!
//! A chunk of every message is a matrix with a message in each row; the rounds want one word of every message in a
//! register, so the matrix is transposed, by shuffles, as words that are gathered one by one cost more than the rounds.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, __m512i, _mm_set_epi8, _mm512_add_epi64, _mm512_broadcast_i32x4, _mm512_loadu_si512, _mm512_ror_epi64,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i64x2, _mm512_srli_epi64,
    _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

use crate::constants::{H512, K512, padding};

/// Truth tables of functions of three bits.
const XOR: i32 = 0x96;
const CHOICE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;

/// Hashes messages of one length, a multiple of 128.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) fn sha512(messages: [&[u8]; 8], hashes: &mut Vec<u8>) {
    let mut state = H512.map(|word| _mm512_set1_epi64(word.cast_signed()));
    let mut chunks = messages.map(|message| message.as_chunks::<128>().0.iter());
    for _ in 0..messages[0].len() / 128 {
        compress(&mut state, std::array::from_fn(|lane| chunks[lane].next().expect("messages of one length")));
    }
    let padding = padding::<128>(messages[0].len() as u64);
    compress(&mut state, [&padding; 8]);
    let words = state.map(|register| {
        let mut words = [0_u64; 8];
        // SAFETY: 64 bytes are written to an array of 64; the store needs no alignment.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), register) };
        words
    });
    for lane in 0..8 {
        words.iter().for_each(|word| hashes.extend_from_slice(&word[lane].to_be_bytes()));
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn compress(state: &mut [__m512i; 8], chunks: [&[u8; 128]; 8]) {
    let mut w = transposed(chunks);
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    macro_rules! round {
        ($t:expr, $place:literal) => {{
            let k = _mm512_set1_epi64(K512[$t + $place].cast_signed());
            let hwk = _mm512_add_epi64(_mm512_add_epi64(h, w[$place]), k);
            let choice = _mm512_ternarylogic_epi64::<CHOICE>(e, f, g);
            let majority = _mm512_ternarylogic_epi64::<MAJORITY>(a, b, c);
            let t1 = _mm512_add_epi64(_mm512_add_epi64(hwk, choice), sigma::<14, 18, 41>(e));
            let t2 = _mm512_add_epi64(sigma::<28, 34, 39>(a), majority);
            (h, g, f, e, d, c, b, a) = (g, f, e, _mm512_add_epi64(d, t1), c, b, a, _mm512_add_epi64(t1, t2));
        }};
    }
    macro_rules! made {
        ($t:expr, $place:literal) => {{
            let s0 = sigma_shifted::<1, 8, 7>(w[($place + 1) % 16]);
            let s1 = sigma_shifted::<19, 61, 6>(w[($place + 14) % 16]);
            let sum = _mm512_add_epi64(w[$place], w[($place + 9) % 16]);
            w[$place] = _mm512_add_epi64(sum, _mm512_add_epi64(s0, s1));
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
        *word = _mm512_add_epi64(*word, new);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn sigma<const A: i32, const B: i32, const C: i32>(x: __m512i) -> __m512i {
    let (first, second) = (_mm512_ror_epi64::<A>(x), _mm512_ror_epi64::<B>(x));
    _mm512_ternarylogic_epi64::<XOR>(first, second, _mm512_ror_epi64::<C>(x))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn sigma_shifted<const A: i32, const B: i32, const SHIFT: u32>(x: __m512i) -> __m512i {
    let (first, second) = (_mm512_ror_epi64::<A>(x), _mm512_ror_epi64::<B>(x));
    _mm512_ternarylogic_epi64::<XOR>(first, second, _mm512_srli_epi64::<SHIFT>(x))
}

/// Eight words of the other byte order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load(bytes: &[u8; 64], swap: __m128i) -> __m512i {
    // SAFETY: 64 bytes are read from a reference to 64 bytes; the load needs no alignment.
    let words = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
    _mm512_shuffle_epi8(words, _mm512_broadcast_i32x4(swap))
}

/// Word `i` of each row, for all `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn transposed(rows: [&[u8; 128]; 8]) -> [__m512i; 16] {
    let swap = _mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    let mut words = [_mm512_setzero_si512(); 16];
    for (half, words) in words.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        // In each quarter, of two rows the even words and the odd ones.
        let (mut even, mut odd) = ([_mm512_setzero_si512(); 4], [_mm512_setzero_si512(); 4]);
        for (i, pair) in rows.as_chunks::<2>().0.iter().enumerate() {
            let [upper, lower] = pair.map(|row| load(&row.as_chunks::<64>().0[half], swap));
            even[i] = _mm512_unpacklo_epi64(upper, lower);
            odd[i] = _mm512_unpackhi_epi64(upper, lower);
        }
        let (even, odd) = (transposed_quarters(even), transposed_quarters(odd));
        for i in 0..4 {
            [words[2 * i], words[2 * i + 1]] = [even[i], odd[i]];
        }
    }
    words
}

/// Quarter `i` of each row, for all `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn transposed_quarters([p, q, r, s]: [__m512i; 4]) -> [__m512i; 4] {
    let (pq02, pq13) = (_mm512_shuffle_i64x2::<0x88>(p, q), _mm512_shuffle_i64x2::<0xdd>(p, q));
    let (rs02, rs13) = (_mm512_shuffle_i64x2::<0x88>(r, s), _mm512_shuffle_i64x2::<0xdd>(r, s));
    [
        _mm512_shuffle_i64x2::<0x88>(pq02, rs02),
        _mm512_shuffle_i64x2::<0x88>(pq13, rs13),
        _mm512_shuffle_i64x2::<0xdd>(pq02, rs02),
        _mm512_shuffle_i64x2::<0xdd>(pq13, rs13),
    ]
}
