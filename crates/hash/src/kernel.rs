//! The ways to hash blocks, and which one suits the CPU at hand.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use crate::{BLOCK_SIZE, Family, portable};

/// A way to hash blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// One block after the other, by the sha2 crate.
    Portable,
    /// Four blocks by turns in the SHA unit of an x86-64 CPU.
    ShaNi,
    /// One block in each lane of AVX-512: sixteen of SHA-256, eight of SHA-512.
    Avx512,
}

impl Kernel {
    /// Every kernel, the most wanted first.
    const ALL: [Kernel; 3] = [Kernel::ShaNi, Kernel::Avx512, Kernel::Portable];

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

    #[cfg(target_arch = "x86_64")]
    fn runs_here(self, family: Family) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match (self, family) {
            (Kernel::Portable, _) => true,
            (Kernel::ShaNi, Family::Sha256) => has!("sha") && has!("ssse3") && has!("sse4.1"),
            (Kernel::Avx512, _) => has!("avx512f") && has!("avx512bw") && has!("avx512vl"),
            (Kernel::ShaNi, Family::Sha512) => false,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn runs_here(self, _family: Family) -> bool {
        self == Kernel::Portable
    }

    /// Like [`hash_blocks`](crate::hash_blocks), with this kernel; with the portable one where this one does not run.
    ///
    /// # Panics
    ///
    /// If `blocks` is not a whole number of blocks.
    pub fn hash_blocks(self, family: Family, blocks: &[u8], hashes: &mut Vec<u8>) {
        let (blocks, rest) = blocks.as_chunks::<BLOCK_SIZE>();
        assert!(rest.is_empty(), "hash_blocks takes whole blocks");
        hashes.reserve(blocks.len() * family.hash_len());
        let done = if self.runs_here(family) { self.hash_groups(family, blocks, hashes) } else { 0 };
        portable::hash_blocks(family, &blocks[done..], hashes);
    }

    /// Hashes as many blocks as fill the kernel's width, and says how many.
    #[cfg(target_arch = "x86_64")]
    fn hash_groups(self, family: Family, blocks: &[[u8; BLOCK_SIZE]], hashes: &mut Vec<u8>) -> usize {
        use crate::x86;
        // SAFETY: `runs_here` has found the features that each of these functions is compiled for.
        unsafe {
            match (self, family) {
                (Kernel::ShaNi, Family::Sha256) => groups(blocks, |four: &[_; 4]| x86::sha256_shani(four, hashes)),
                (Kernel::Avx512, Family::Sha256) => groups(blocks, |b| x86::sha256_avx512(b, hashes)),
                (Kernel::Avx512, Family::Sha512) => groups(blocks, |b| x86::sha512_avx512(b, hashes)),
                _ => 0,
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn hash_groups(self, _family: Family, _blocks: &[[u8; BLOCK_SIZE]], _hashes: &mut Vec<u8>) -> usize {
        0
    }
}

/// Hands out blocks in groups of `N`; says how many blocks that were.
#[cfg(target_arch = "x86_64")]
fn groups<const N: usize>(blocks: &[[u8; BLOCK_SIZE]], mut hash: impl FnMut(&[[u8; BLOCK_SIZE]; N])) -> usize {
    let (groups, rest) = blocks.as_chunks::<N>();
    groups.iter().for_each(&mut hash);
    blocks.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_agrees_with_sha2() {
        let mut seed = 1u32;
        let data: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .take(50 * BLOCK_SIZE)
        .collect();
        for family in [Family::Sha256, Family::Sha512] {
            let mut want = Vec::new();
            portable::hash_blocks(family, data.as_chunks().0, &mut want);
            for kernel in Kernel::available(family) {
                for count in 0..=50 {
                    // From both ends, so that lanes and offsets vary.
                    for start in [0, 50 - count] {
                        let mut got = vec![7];
                        kernel.hash_blocks(family, &data[start * BLOCK_SIZE..][..count * BLOCK_SIZE], &mut got);
                        let want = &want[start * family.hash_len()..][..count * family.hash_len()];
                        assert_eq!(&got[1..], want, "{kernel:?} {family:?} {count} blocks from {start}");
                    }
                }
            }
            assert_eq!(Kernel::available(family).last(), Some(Kernel::Portable));
        }
    }
}
