//! The division of a file system into block groups.

use crate::error::DiskError;

/// Size of a block.
pub(crate) const BLOCK: u64 = 4096;
/// Blocks of a group: as many as a block of bits has.
pub(super) const GROUP_BLOCKS: u64 = 32768;
/// Size of an inode.
pub(super) const INODE_LEN: u64 = 256;
/// Size of a group descriptor.
pub(super) const DESCRIPTOR_LEN: u64 = 64;
/// First inode that is not reserved, which gets the directory `lost+found`.
pub(super) const FIRST_INODE: u32 = 11;
/// Inodes of a group if nothing needs more: one for each 16 KiB, as mke2fs has it.
const GROUP_INODES: u64 = 8192;
/// Most inodes of a group: those of all groups have a number of 32 bits.
const GROUP_INODES_MAX: u64 = 32752;
/// A shorter last group is left out.
const LAST_GROUP_MIN: u64 = 1024;
/// Most blocks: those of 16 TiB.
pub(crate) const BLOCKS_MAX: u64 = 1 << 32;

/// Numbers of a file system that follow from its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) blocks: u64,
    pub(super) groups: u64,
    pub(super) inodes_per_group: u64,
    /// Blocks of the table of group descriptors.
    pub(super) descriptor_blocks: u64,
}

impl Geometry {
    /// Divides `bytes`, for at least this number of inodes.
    pub(super) fn new(bytes: u64, inodes: u64) -> Result<Self, DiskError> {
        let mut blocks = bytes / BLOCK;
        let rest = blocks % GROUP_BLOCKS;
        if blocks > GROUP_BLOCKS && rest < LAST_GROUP_MIN {
            blocks -= rest;
        }
        if blocks > BLOCKS_MAX {
            return Err(DiskError::TooLarge { bytes });
        }
        let groups = blocks.div_ceil(GROUP_BLOCKS).max(1);
        // Twice as many as needed, in whole blocks of the inode table.
        let inodes_per_group = (2 * inodes).div_ceil(groups).next_multiple_of(16).clamp(GROUP_INODES, GROUP_INODES_MAX);
        let descriptor_blocks = (groups * DESCRIPTOR_LEN).div_ceil(BLOCK);
        Ok(Self { blocks, groups, inodes_per_group, descriptor_blocks })
    }

    /// Blocks of the inode table of a group.
    pub(super) fn table_blocks(&self) -> u64 {
        self.inodes_per_group * INODE_LEN / BLOCK
    }

    /// Returns the number of all inodes.
    pub(super) fn inodes(&self) -> u64 {
        self.groups * self.inodes_per_group
    }

    /// Returns the blocks of a group, of which the last has fewer.
    pub(super) fn blocks_of(&self, group: u64) -> u64 {
        (self.blocks - group * GROUP_BLOCKS).min(GROUP_BLOCKS)
    }

    /// Returns the groups that have a copy of the superblock and of the descriptors: 0, 1 and the powers of 3, 5 and 7
    /// (the feature `sparse_super`).
    pub(super) fn groups_with_superblock(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.groups).filter(|&group| group <= 1 || [3, 5, 7].iter().any(|&base| is_power(group, base)))
    }

    /// Blocks that all structures take together, without a journal and without files.
    pub(super) fn overhead(&self) -> u64 {
        let copies = self.groups_with_superblock().count() as u64;
        copies * (1 + self.descriptor_blocks) + self.groups * (2 + self.table_blocks())
    }
}

fn is_power(mut number: u64, base: u64) -> bool {
    while number > 1 && number.is_multiple_of(base) {
        number /= base;
    }
    number == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_the_superblock_are_in_few_groups() {
        let geometry = Geometry::new(60 * GROUP_BLOCKS * BLOCK, 1).unwrap();
        let groups: Vec<_> = geometry.groups_with_superblock().collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49]);
    }

    #[test]
    fn a_short_last_group_is_left_out() {
        let at = |blocks: u64| Geometry::new(blocks * BLOCK, 1).unwrap();
        assert_eq!((at(GROUP_BLOCKS + 1023).blocks, at(GROUP_BLOCKS + 1023).groups), (GROUP_BLOCKS, 1));
        assert_eq!((at(GROUP_BLOCKS + 1024).blocks, at(GROUP_BLOCKS + 1024).groups), (GROUP_BLOCKS + 1024, 2));
        assert_eq!(Geometry::new(GROUP_BLOCKS * BLOCK, 12_000).unwrap().inodes_per_group, 24_000);
        assert!(matches!(Geometry::new(u64::MAX, 1), Err(DiskError::TooLarge { .. })));
    }
}
