//! SHA-2 of several messages at once, one in each lane of a vector.
//!
//! Plain arithmetic on arrays, all of it inlined into callers that enable the vector instructions of some CPU: the
//! compiler makes one instruction of each array operation. So there is no intrinsic and nothing unsafe here, and the
//! same code serves every width.

use crate::constants::{H256, H512, K256, K512, padding};

macro_rules! lanes {
    ($name:ident, $word:ty, $chunk:literal, $rounds:literal, $initial:ident, $k:ident,
     $big0:expr, $big1:expr, $small0:expr, $small1:expr) => {
        pub(crate) mod $name {
            use super::*;

            type Lanes<const N: usize> = [$word; N];

            #[inline(always)]
            fn map<const N: usize>(f: impl Fn(usize) -> $word) -> Lanes<N> {
                std::array::from_fn(f)
            }

            /// `x` rotated and shifted as the standard's sigma functions say.
            #[inline(always)]
            fn sigma<const N: usize>(x: Lanes<N>, by: (u32, u32, u32), shift: bool) -> Lanes<N> {
                map(|i| {
                    let last = if shift { x[i] >> by.2 } else { x[i].rotate_right(by.2) };
                    x[i].rotate_right(by.0) ^ x[i].rotate_right(by.1) ^ last
                })
            }

            #[inline(always)]
            fn add<const N: usize>(a: Lanes<N>, b: Lanes<N>) -> Lanes<N> {
                map(|i| a[i].wrapping_add(b[i]))
            }

            /// Word `index` of a chunk, of every lane.
            #[inline(always)]
            fn load<const N: usize>(chunks: [&[u8; $chunk]; N], index: usize) -> Lanes<N> {
                const LEN: usize = size_of::<$word>();
                map(|lane| {
                    let bytes = &chunks[lane][index * LEN..][..LEN];
                    <$word>::from_be_bytes(bytes.try_into().expect("a word's length"))
                })
            }

            #[inline(always)]
            fn compress<const N: usize>(state: &mut [Lanes<N>; 8], chunks: [&[u8; $chunk]; N]) {
                let mut w: [Lanes<N>; 16] = std::array::from_fn(|i| load(chunks, i));
                let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
                for t in 0..$rounds {
                    if t >= 16 {
                        let s0 = sigma(w[(t + 1) % 16], $small0, true);
                        let s1 = sigma(w[(t + 14) % 16], $small1, true);
                        w[t % 16] = add(add(w[t % 16], s0), add(w[(t + 9) % 16], s1));
                    }
                    let choice = map(|i| (e[i] & f[i]) ^ (!e[i] & g[i]));
                    let majority = map(|i| (a[i] & b[i]) ^ (a[i] & c[i]) ^ (b[i] & c[i]));
                    let wk = map(|i| w[t % 16][i].wrapping_add($k[t]));
                    let t1 = add(add(h, sigma(e, $big1, false)), add(choice, wk));
                    let t2 = add(sigma(a, $big0, false), majority);
                    (h, g, f, e, d, c, b, a) = (g, f, e, add(d, t1), c, b, a, add(t1, t2));
                }
                for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
                    *word = add(*word, new);
                }
            }

            /// Appends the hashes of `N` messages of one length, a multiple of the chunk's.
            #[inline(always)]
            pub(crate) fn hash<const N: usize>(messages: [&[u8]; N], hashes: &mut Vec<u8>) {
                let mut state: [Lanes<N>; 8] = $initial.map(|word| [word; N]);
                let mut chunks = messages.map(|message| message.as_chunks::<$chunk>().0.iter());
                for _ in 0..messages[0].len() / $chunk {
                    let next = std::array::from_fn(|lane| chunks[lane].next().expect("messages of one length"));
                    compress(&mut state, next);
                }
                let padding = padding::<$chunk>(messages[0].len() as u64);
                compress(&mut state, [&padding; N]);
                for lane in 0..N {
                    state.iter().for_each(|word| hashes.extend_from_slice(&word[lane].to_be_bytes()));
                }
            }
        }
    };
}

lanes!(sha256, u32, 64, 64, H256, K256, (2, 13, 22), (6, 11, 25), (7, 18, 3), (17, 19, 10));
lanes!(sha512, u64, 128, 80, H512, K512, (28, 34, 39), (14, 18, 41), (1, 8, 7), (19, 61, 6));
