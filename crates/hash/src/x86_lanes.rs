//! One message in each lane of AVX-512: sixteen of SHA-256, eight of SHA-512.
//!
//! A chunk of every message is a matrix with a message in each row; the rounds want one word of every message in a
//! register, so the matrix is transposed, by shuffles, as words that are gathered one by one cost more than the rounds.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, __m512i, _mm_set_epi8, _mm512_add_epi32, _mm512_add_epi64, _mm512_broadcast_i32x4, _mm512_loadu_si512,
    _mm512_ror_epi32, _mm512_ror_epi64, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_shuffle_epi8,
    _mm512_shuffle_i32x4, _mm512_srli_epi32, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_ternarylogic_epi32,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use crate::constants::{H256, H512, K256, K512, padding};

/// Truth tables of functions of three bits.
const XOR: i32 = 0x96;
const CHOICE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;

/// The same for both word sizes.
macro_rules! lanes {
    ($name:ident, $count:literal, $word:ty, $signed:ty, $chunk:literal, $rounds:literal, $initial:ident, $k:ident,
     $transposed:ident, $add:ident, $ror:ident, $shr:ident, $set1:ident,
     $big0:expr, $big1:expr, $small0:expr, $small1:expr) => {
        /// Hashes as many messages of one length, a multiple of the chunk's, as there are lanes.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        pub(crate) fn $name(messages: [&[u8]; $count], hashes: &mut Vec<u8>) {
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
            fn xor(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
                _mm512_ternarylogic_epi32::<XOR>(a, b, c)
            }
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
            fn compress(state: &mut [__m512i; 8], chunks: [&[u8; $chunk]; $count]) {
                let mut w = $transposed(chunks);
                let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
                macro_rules! round {
                    ($t:expr) => {{
                        let wk = $add(w[$t % 16], $set1($k[$t] as $signed));
                        let hwk = $add(h, wk);
                        let choice = _mm512_ternarylogic_epi32::<CHOICE>(e, f, g);
                        let sigma1 = xor($ror::<{ $big1.0 }>(e), $ror::<{ $big1.1 }>(e), $ror::<{ $big1.2 }>(e));
                        let majority = _mm512_ternarylogic_epi32::<MAJORITY>(a, b, c);
                        let sigma0 = xor($ror::<{ $big0.0 }>(a), $ror::<{ $big0.1 }>(a), $ror::<{ $big0.2 }>(a));
                        let t1 = $add($add(hwk, choice), sigma1);
                        let t2 = $add(sigma0, majority);
                        (h, g, f, e, d, c, b, a) = (g, f, e, $add(d, t1), c, b, a, $add(t1, t2));
                    }};
                }
                macro_rules! schedule {
                    ($t:expr) => {{
                        let (x, y) = (w[($t + 1) % 16], w[($t + 14) % 16]);
                        let s0 = xor($ror::<{ $small0.0 }>(x), $ror::<{ $small0.1 }>(x), $shr::<{ $small0.2 }>(x));
                        let s1 = xor($ror::<{ $small1.0 }>(y), $ror::<{ $small1.1 }>(y), $shr::<{ $small1.2 }>(y));
                        w[$t % 16] = $add($add(w[$t % 16], w[($t + 9) % 16]), $add(s0, s1));
                    }};
                }
                macro_rules! each {
                    ($what:ident $from:expr) => {
                        $what!($from);
                        $what!($from + 1);
                        $what!($from + 2);
                        $what!($from + 3);
                        $what!($from + 4);
                        $what!($from + 5);
                        $what!($from + 6);
                        $what!($from + 7);
                        $what!($from + 8);
                        $what!($from + 9);
                        $what!($from + 10);
                        $what!($from + 11);
                        $what!($from + 12);
                        $what!($from + 13);
                        $what!($from + 14);
                        $what!($from + 15);
                    };
                }
                macro_rules! made {
                    ($t:expr) => {
                        schedule!($t);
                        round!($t);
                    };
                }
                each!(round 0);
                let mut t = 16;
                while t < $rounds {
                    each!(made t);
                    t += 16;
                }
                for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
                    *word = $add(*word, new);
                }
            }
            let mut state = $initial.map(|word| $set1(word as $signed));
            let mut chunks = messages.map(|message| message.as_chunks::<$chunk>().0.iter());
            for _ in 0..messages[0].len() / $chunk {
                let next = std::array::from_fn(|lane| chunks[lane].next().expect("messages of one length"));
                compress(&mut state, next);
            }
            let padding = padding::<$chunk>(messages[0].len() as u64);
            compress(&mut state, [&padding; $count]);
            let words = state.map(|register| {
                let mut words = [0 as $word; $count];
                // SAFETY: 64 bytes are written to an array of 64; the store needs no alignment.
                unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), register) };
                words
            });
            for lane in 0..$count {
                words.iter().for_each(|word| hashes.extend_from_slice(&word[lane].to_be_bytes()));
            }
        }
    };
}

lanes!(
    sha256,
    16,
    u32,
    i32,
    64,
    64,
    H256,
    K256,
    transposed_u32,
    _mm512_add_epi32,
    _mm512_ror_epi32,
    _mm512_srli_epi32,
    _mm512_set1_epi32,
    (2, 13, 22),
    (6, 11, 25),
    (7, 18, 3),
    (17, 19, 10)
);
lanes!(
    sha512,
    8,
    u64,
    i64,
    128,
    80,
    H512,
    K512,
    transposed_u64,
    _mm512_add_epi64,
    _mm512_ror_epi64,
    _mm512_srli_epi64,
    _mm512_set1_epi64,
    (28, 34, 39),
    (14, 18, 41),
    (1, 8, 7),
    (19, 61, 6)
);

/// 64 bytes, those of each word in the other order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load(bytes: &[u8; 64], swap: __m128i) -> __m512i {
    // SAFETY: 64 bytes are read from a reference to 64 bytes; the load needs no alignment.
    let row = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
    _mm512_shuffle_epi8(row, _mm512_broadcast_i32x4(swap))
}

/// Of four registers of four quarters each, the four that have a quarter of each of these.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn quarters([p, q, r, s]: [__m512i; 4]) -> [__m512i; 4] {
    let (pq02, pq13) = (_mm512_shuffle_i32x4::<0x88>(p, q), _mm512_shuffle_i32x4::<0xdd>(p, q));
    let (rs02, rs13) = (_mm512_shuffle_i32x4::<0x88>(r, s), _mm512_shuffle_i32x4::<0xdd>(r, s));
    [
        _mm512_shuffle_i32x4::<0x88>(pq02, rs02),
        _mm512_shuffle_i32x4::<0x88>(pq13, rs13),
        _mm512_shuffle_i32x4::<0xdd>(pq02, rs02),
        _mm512_shuffle_i32x4::<0xdd>(pq13, rs13),
    ]
}

/// Word `i` of each row, for all `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn transposed_u32(rows: [&[u8; 64]; 16]) -> [__m512i; 16] {
    let swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    // A register of `words[w][i]` has in each quarter word `w` of it of rows `4 * i` to `4 * i + 3`.
    let mut words = [[_mm512_set1_epi32(0); 4]; 4];
    for i in 0..4 {
        let [p, q, r, s] = std::array::from_fn(|row| load(rows[4 * i + row], swap));
        let (pq01, pq23) = (_mm512_unpacklo_epi32(p, q), _mm512_unpackhi_epi32(p, q));
        let (rs01, rs23) = (_mm512_unpacklo_epi32(r, s), _mm512_unpackhi_epi32(r, s));
        words[0][i] = _mm512_unpacklo_epi64(pq01, rs01);
        words[1][i] = _mm512_unpackhi_epi64(pq01, rs01);
        words[2][i] = _mm512_unpacklo_epi64(pq23, rs23);
        words[3][i] = _mm512_unpackhi_epi64(pq23, rs23);
    }
    let [p, q, r, s] = [quarters(words[0]), quarters(words[1]), quarters(words[2]), quarters(words[3])];
    [p[0], q[0], r[0], s[0], p[1], q[1], r[1], s[1], p[2], q[2], r[2], s[2], p[3], q[3], r[3], s[3]]
}

/// Word `i` of each row, for all `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn transposed_u64(rows: [&[u8; 128]; 8]) -> [__m512i; 16] {
    let swap = _mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    let mut out = [_mm512_set1_epi32(0); 16];
    for half in 0..2 {
        let mut words = [[_mm512_set1_epi32(0); 4]; 2];
        for i in 0..4 {
            let p = load(&rows[2 * i].as_chunks::<64>().0[half], swap);
            let q = load(&rows[2 * i + 1].as_chunks::<64>().0[half], swap);
            words[0][i] = _mm512_unpacklo_epi64(p, q);
            words[1][i] = _mm512_unpackhi_epi64(p, q);
        }
        let [p, q] = [quarters(words[0]), quarters(words[1])];
        for i in 0..4 {
            out[8 * half + 2 * i] = p[i];
            out[8 * half + 2 * i + 1] = q[i];
        }
    }
    out
}
