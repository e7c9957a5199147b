//! The ways to hash blocks, and which one suits the CPU at hand.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use crate::{BLOCK_SIZE, Family, MESSAGE_UNIT, portable};

/// A way to hash blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// One block after the other, by the sha2 crate.
    Portable,
    /// One block in each lane of AVX-512, thirty-two or sixteen at once, and in the SHA unit what is too few for that.
    Avx512ShaNi,
    /// Four blocks at once: of SHA-256 by turns in the SHA unit of an x86-64 CPU that has AVX, of SHA-512 one in each
    /// lane of AVX2.
    ShaNiAvx,
    /// Four blocks of SHA-256 by turns in the SHA unit, without AVX.
    ShaNi,
    /// One block in each lane of AVX-512: thirty-two or sixteen of SHA-256, eight of SHA-512.
    Avx512,
    /// Messages by turns in the SHA unit of a 64-bit ARM CPU: four of SHA-256, two of SHA-512, whose words fill as many
    /// registers.
    Armv8,
}

impl Kernel {
    /// Every kernel, the most wanted first.
    const ALL: [Kernel; 6] =
        [Kernel::Avx512ShaNi, Kernel::Avx512, Kernel::ShaNiAvx, Kernel::ShaNi, Kernel::Armv8, Kernel::Portable];

    /// The kernels that this CPU has for a family, the best first. The last one is [`Kernel::Portable`].
    pub fn available(family: Family) -> impl Iterator<Item = Kernel> {
        Self::ALL.into_iter().filter(move |kernel| kernel.runs_here(family))
    }

    /// The best kernel for a family on this CPU.
    #[must_use]
    pub fn best(family: Family) -> Kernel {
        static BEST: [OnceLock<Kernel>; 2] = [OnceLock::new(), OnceLock::new()];
        *BEST[family as usize].get_or_init(|| Self::available(family).next().unwrap_or(Kernel::Portable))
    }

    fn runs_here(self, family: Family) -> bool {
        #[cfg(target_arch = "aarch64")]
        use std::arch::is_aarch64_feature_detected as has;
        #[cfg(target_arch = "x86_64")]
        use std::arch::is_x86_feature_detected as has;
        match (self, family) {
            (Kernel::Portable, _) => true,
            #[cfg(target_arch = "x86_64")]
            (Kernel::Avx512ShaNi, Family::Sha256) => {
                Kernel::Avx512.runs_here(family) && Kernel::ShaNiAvx.runs_here(family)
            }
            #[cfg(target_arch = "x86_64")]
            (Kernel::ShaNiAvx, Family::Sha256) => has!("avx") && Kernel::ShaNi.runs_here(family),
            #[cfg(target_arch = "x86_64")]
            (Kernel::ShaNiAvx, Family::Sha512) => has!("avx2"),
            #[cfg(target_arch = "x86_64")]
            (Kernel::ShaNi, Family::Sha256) => has!("sha") && has!("ssse3") && has!("sse4.1"),
            #[cfg(target_arch = "x86_64")]
            (Kernel::Avx512, _) => has!("avx512f") && has!("avx512bw") && has!("avx512vl"),
            #[cfg(target_arch = "aarch64")]
            (Kernel::Armv8, Family::Sha256) => has!("sha2"),
            // The instructions for SHA-512 came with those for SHA-3, and under their name.
            #[cfg(target_arch = "aarch64")]
            (Kernel::Armv8, Family::Sha512) => has!("sha3"),
            _ => false,
        }
    }

    /// Like [`hash_blocks`](crate::hash_blocks), with this kernel; with the portable one where this one does not run.
    pub fn hash_blocks(self, family: Family, data: &[u8], hashes: &mut Vec<u8>) {
        let (whole, rest) = data.as_chunks::<BLOCK_SIZE>();
        let mut last = [0; BLOCK_SIZE];
        last[..rest.len()].copy_from_slice(rest);
        let block = |index: usize| whole.get(index).unwrap_or(&last).as_slice();
        self.hash_each(family, data.len().div_ceil(BLOCK_SIZE), block, hashes);
    }

    /// Like [`hash_messages`](crate::hash_messages), with this kernel; with the portable one where this one does not
    /// run.
    ///
    /// # Panics
    ///
    /// If `messages` is not a whole number of messages, or `len` is 0.
    pub fn hash_messages(self, family: Family, len: usize, messages: &[u8], hashes: &mut Vec<u8>) {
        let whole = messages.chunks_exact(len);
        assert!(whole.remainder().is_empty(), "a whole number of messages");
        self.hash_each(family, whole.len(), |index| &messages[index * len..][..len], hashes);
    }

    /// Hashes `count` messages of one length.
    fn hash_each<'m>(self, family: Family, count: usize, message: impl Fn(usize) -> &'m [u8], hashes: &mut Vec<u8>) {
        hashes.reserve(count * family.hash_len());
        if count > 0 && message(0).len().is_multiple_of(MESSAGE_UNIT) && self.runs_here(family) {
            self.hash_groups(family, count, message, hashes);
        } else {
            (0..count).for_each(|index| portable::append_hash(family, message(index), hashes));
        }
    }

    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(unused_macros, unused_unsafe))]
    fn hash_groups<'m>(self, family: Family, count: usize, message: impl Fn(usize) -> &'m [u8], hashes: &mut Vec<u8>) {
        #[cfg(target_arch = "aarch64")]
        use crate::aarch64;
        #[cfg(target_arch = "x86_64")]
        use crate::x86::{avx2_sha512, avx512_sha256, avx512_sha512, sha_ni, sha_ni_avx};
        let mut done = 0;
        // The next messages, as many as a kernel takes; where there are fewer, some twice.
        macro_rules! next {
            ($width:literal) => {{
                let messages: [&[u8]; $width] = std::array::from_fn(|lane| message((done + lane).min(count - 1)));
                done += $width;
                messages
            }};
        }
        // SAFETY: `runs_here` has found the features that each of these functions is compiled for.
        unsafe {
            while done < count {
                match (self, family, count - done) {
                    #[cfg(target_arch = "x86_64")]
                    (Kernel::Avx512ShaNi, Family::Sha256, 3..=8) | (Kernel::ShaNiAvx, Family::Sha256, 3..) => {
                        sha_ni_avx::sha256(next!(4), hashes);
                    }
                    #[cfg(target_arch = "x86_64")]
                    (Kernel::ShaNi, Family::Sha256, 4..) => sha_ni::sha256_shani(next!(4), hashes),
                    #[cfg(target_arch = "x86_64")]
                    (Kernel::ShaNi, Family::Sha256, 3) => sha_ni::sha256_shani(next!(3), hashes),
                    #[cfg(target_arch = "x86_64")]
                    (Kernel::Avx512ShaNi | Kernel::ShaNiAvx | Kernel::ShaNi, Family::Sha256, 2) => {
                        sha_ni::sha256_shani(next!(2), hashes)
                    }
                    // Where a few lanes suffice, the remaining lanes hash the last message again. On Zen 5, sixteen
                    // lanes take as long as two rounds of four messages in the SHA unit, and thirty-two lanes as long
                    // as three to four rounds.
                    #[cfg(target_arch = "x86_64")]
                    (Kernel::Avx512ShaNi | Kernel::Avx512, Family::Sha256, 21..) => {
                        avx512_sha256::sha256_by_turns(next!(32), hashes);
                    }
                    #[cfg(target_arch = "x86_64")]
                    (Kernel::Avx512ShaNi, Family::Sha256, 9..) | (Kernel::Avx512, Family::Sha256, 3..) => {
                        avx512_sha256::sha256(next!(16), hashes);
                    }
                    #[cfg(target_arch = "x86_64")]
                    (Kernel::Avx512, Family::Sha512, 3..) => avx512_sha512::sha512(next!(8), hashes),
                    #[cfg(target_arch = "x86_64")]
                    (Kernel::ShaNiAvx, Family::Sha512, 3..) => avx2_sha512::sha512(next!(4), hashes),
                    #[cfg(target_arch = "aarch64")]
                    (Kernel::Armv8, Family::Sha256, 4..) => aarch64::sha256(next!(4), hashes),
                    #[cfg(target_arch = "aarch64")]
                    (Kernel::Armv8, Family::Sha256, 3) => aarch64::sha256(next!(3), hashes),
                    #[cfg(target_arch = "aarch64")]
                    (Kernel::Armv8, Family::Sha256, 2) => aarch64::sha256(next!(2), hashes),
                    #[cfg(target_arch = "aarch64")]
                    (Kernel::Armv8, Family::Sha512, 2..) => aarch64::sha512(next!(2), hashes),
                    _ => {
                        portable::append_hash(family, message(done), hashes);
                        done += 1;
                    }
                }
            }
        }
        hashes.truncate(hashes.len() - (done - count) * family.hash_len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By what the system says of the CPU, which is another source than the instructions asked for it; where the system
    /// speaks of another CPU than the program sees, by what `COMPOSEFS_CPU_FLAGS` says.
    #[test]
    fn the_kernel_chosen_is_the_one_for_this_cpu() {
        let told = std::env::var("COMPOSEFS_CPU_FLAGS");
        let flags = told.unwrap_or_else(|_| std::fs::read_to_string("/proc/cpuinfo").unwrap());
        let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
        let first = |of: &[(&str, Kernel)]| {
            of.iter().find(|(flag, _)| has(flag)).map_or(Kernel::Portable, |(_, kernel)| *kernel)
        };
        let sha_ni = match (has("avx512bw"), has("avx")) {
            (true, _) => Kernel::Avx512ShaNi,
            (false, true) => Kernel::ShaNiAvx,
            (false, false) => Kernel::ShaNi,
        };
        let of_sha256 = first(&[("sha_ni", sha_ni), ("avx512bw", Kernel::Avx512), ("sha2", Kernel::Armv8)]);
        let of_sha512 = first(&[("avx512bw", Kernel::Avx512), ("avx2", Kernel::ShaNiAvx), ("sha512", Kernel::Armv8)]);
        assert_eq!([Kernel::best(Family::Sha256), Kernel::best(Family::Sha512)], [of_sha256, of_sha512], "{flags}");
    }

    #[test]
    fn every_kernel_agrees_with_sha2() {
        let mut seed = 1u32;
        let data: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .take(81 * BLOCK_SIZE)
        .collect();
        for family in [Family::Sha256, Family::Sha512] {
            let mut want = Vec::new();
            data.chunks(BLOCK_SIZE).for_each(|block| portable::append_hash(family, block, &mut want));
            for kernel in Kernel::available(family) {
                for count in 0..=80 {
                    // From both ends, so that lanes and offsets vary.
                    for start in [0, 80 - count] {
                        let mut got = vec![7];
                        kernel.hash_blocks(family, &data[start * BLOCK_SIZE..][..count * BLOCK_SIZE], &mut got);
                        let want = &want[start * family.hash_len()..][..count * family.hash_len()];
                        assert_eq!(&got[1..], want, "{kernel:?} {family:?} {count} blocks from {start}");
                    }
                    // A partial last block counts as one filled up with zeros.
                    for len in [1, 63, 64, 4095] {
                        let mut padded = data[..count * BLOCK_SIZE + len].to_vec();
                        let mut got = Vec::new();
                        kernel.hash_blocks(family, &padded, &mut got);
                        padded.resize((count + 1) * BLOCK_SIZE, 0);
                        let mut want = Vec::new();
                        padded.chunks(BLOCK_SIZE).for_each(|block| portable::append_hash(family, block, &mut want));
                        assert_eq!(got, want, "{kernel:?} {family:?} {count} blocks and {len}");
                    }
                }
            }
            assert_eq!(Kernel::available(family).last(), Some(Kernel::Portable));
        }
    }

    #[test]
    fn messages_of_every_length_agree_with_sha2() {
        let data: Vec<u8> = (0..80 * 1024u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for family in [Family::Sha256, Family::Sha512] {
            for len in [1, 55, 56, 63, 64, 65, 111, 112, 127, 128, 129, 192, 256, 384, 512, 1024] {
                for count in 0..=80 {
                    let messages = &data[..count * len];
                    let mut want = Vec::new();
                    messages.chunks(len).for_each(|message| portable::append_hash(family, message, &mut want));
                    for kernel in Kernel::available(family) {
                        let mut got = Vec::new();
                        kernel.hash_messages(family, len, messages, &mut got);
                        assert_eq!(got, want, "{kernel:?} {family:?} {count} messages of {len}");
                    }
                }
            }
        }
    }
}
