//! The superblock, the group descriptors, the bitmaps and the head of the journal.

use std::ops::Range;

use super::bytes::{PutLe as _, high16, high32, low16, low32};
use super::checksum::{START, crc32c};
use super::geometry::{BLOCK, DESCRIPTOR_LEN, FIRST_INODE, GROUP_BLOCKS, Geometry, INODE_LEN};
use super::inode::EXTRA_LEN;

/// Number of the journal's inode.
pub(super) const JOURNAL_INODE: u32 = 8;

/// `has_journal`, `ext_attr`, `dir_index`.
const COMPATIBLE: u32 = 0x4 | 0x8 | 0x20;
/// `filetype`, `extents`, `64bit`, `flex_bg`.
const INCOMPATIBLE: u32 = 0x2 | 0x40 | 0x80 | 0x200;
/// `sparse_super`, `large_file`, `huge_file`, `dir_nlink`, `extra_isize`, `metadata_csum`, `verity`.
const READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400 | 0x8000;
/// The inode table of a group needs no initialization.
const INODE_ZEROED: u16 = 4;
/// One hundredth of the blocks is for root.
const RESERVED_PART: u64 = 100;

/// Names and numbers of a file system that do not follow from its contents.
#[derive(Clone, Debug)]
pub(crate) struct Ext4Identity {
    pub(crate) uuid: [u8; 16],
    /// Seed of the hashes of names.
    pub(crate) hash_seed: [u8; 16],
    /// At most 16 bytes.
    pub(crate) label: &'static [u8],
    /// Time of creation, in seconds since 1970.
    pub(crate) time: u32,
}

/// What is free.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FreeCounts {
    pub(super) blocks: u64,
    pub(super) inodes: u64,
}

/// Places of the structures of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupPlaces {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
}

/// A group with everything that its descriptor says.
#[derive(Debug)]
pub(super) struct BlockGroup {
    pub(super) places: GroupPlaces,
    pub(super) block_bitmap: Vec<u8>,
    pub(super) inode_bitmap: Vec<u8>,
    pub(super) free: FreeCounts,
    pub(super) directories: u32,
}

impl BlockGroup {
    /// Makes the bitmaps of a group: of `used` ranges of blocks, and of the first `inodes` inodes of the file system.
    pub(super) fn new(
        number: u64,
        geometry: &Geometry,
        places: GroupPlaces,
        used: &[Range<u64>],
        inodes: u64,
        directories: u32,
    ) -> Self {
        let (start, len) = (number * GROUP_BLOCKS, geometry.blocks_of(number));
        let mut block_bitmap = vec![0; BLOCK as usize];
        let mut taken = 0;
        for range in used {
            let (from, to) = (range.start.clamp(start, start + len), range.end.clamp(start, start + len));
            set_bits(&mut block_bitmap, from - start..to - start);
            taken += to - from;
        }
        // Bits of blocks and inodes that do not exist are set.
        set_bits(&mut block_bitmap, len..GROUP_BLOCKS);
        let mut inode_bitmap = vec![0; BLOCK as usize];
        let per_group = geometry.inodes_per_group;
        let taken_inodes = inodes.saturating_sub(number * per_group).min(per_group);
        set_bits(&mut inode_bitmap, 0..taken_inodes);
        set_bits(&mut inode_bitmap, per_group..BLOCK * 8);
        let free = FreeCounts { blocks: len - taken, inodes: per_group - taken_inodes };
        Self { places, block_bitmap, inode_bitmap, free, directories }
    }

    /// Returns the descriptor with its checksums.
    pub(super) fn descriptor(&self, number: u64, geometry: &Geometry, seed: u32) -> [u8; DESCRIPTOR_LEN as usize] {
        let mut bytes = [0; DESCRIPTOR_LEN as usize];
        let GroupPlaces { block_bitmap, inode_bitmap, inode_table } = self.places;
        for (at, block) in [(0, block_bitmap), (4, inode_bitmap), (8, inode_table)] {
            bytes.put32(at, low32(block));
            bytes.put32(at + 0x20, high32(block));
        }
        // Groups have at most 32768 of each.
        bytes.put16(0x0c, self.free.blocks as u16);
        bytes.put16(0x0e, self.free.inodes as u16);
        bytes.put16(0x10, low16(self.directories));
        bytes.put16(0x12, INODE_ZEROED);
        let blocks = crc32c(seed, &self.block_bitmap);
        let inodes = crc32c(seed, &self.inode_bitmap[..(geometry.inodes_per_group / 8) as usize]);
        for (at, checksum) in [(0x18, blocks), (0x1a, inodes)] {
            bytes.put16(at, low16(checksum));
            bytes.put16(at + 0x20, high16(checksum));
        }
        bytes.put16(0x1c, self.free.inodes as u16);
        let checksum = crc32c(crc32c(seed, &low32(number).to_le_bytes()), &bytes);
        bytes.put16(0x1e, low16(checksum));
        bytes
    }
}

fn set_bits(bitmap: &mut [u8], range: Range<u64>) {
    for bit in range {
        bitmap[(bit / 8) as usize] |= 1 << (bit % 8);
    }
}

/// Returns the seed of all checksums of a file system.
pub(super) fn checksum_seed(identity: &Ext4Identity) -> u32 {
    crc32c(START, &identity.uuid)
}

/// Returns the superblock for the group that it lies in.
pub(super) fn superblock(
    geometry: &Geometry,
    identity: &Ext4Identity,
    free: FreeCounts,
    journal: &[u8; 60],
    journal_size: u64,
    group: u64,
) -> [u8; 1024] {
    let mut bytes = [0; 1024];
    let reserved = geometry.blocks / RESERVED_PART;
    bytes.put32(0x00, low32(geometry.inodes()));
    bytes.put32(0x04, low32(geometry.blocks));
    bytes.put32(0x08, low32(reserved));
    bytes.put32(0x0c, low32(free.blocks));
    bytes.put32(0x10, low32(free.inodes));
    // Sizes of blocks and clusters, as 1024 shifted by 2.
    bytes.put32(0x18, 2);
    bytes.put32(0x1c, 2);
    bytes.put32(0x20, GROUP_BLOCKS as u32);
    bytes.put32(0x24, GROUP_BLOCKS as u32);
    bytes.put32(0x28, geometry.inodes_per_group as u32);
    bytes.put32(0x30, identity.time);
    bytes.put16(0x36, u16::MAX);
    bytes.put16(0x38, 0xef53);
    bytes.put16(0x3a, 1);
    bytes.put16(0x3c, 1);
    bytes.put32(0x40, identity.time);
    bytes.put32(0x4c, 1);
    bytes.put32(0x54, FIRST_INODE);
    bytes.put16(0x58, INODE_LEN as u16);
    bytes.put16(0x5a, group as u16);
    bytes.put32(0x5c, COMPATIBLE);
    bytes.put32(0x60, INCOMPATIBLE);
    bytes.put32(0x64, READ_ONLY_COMPATIBLE);
    bytes[0x68..0x78].copy_from_slice(&identity.uuid);
    bytes[0x78..0x78 + identity.label.len()].copy_from_slice(identity.label);
    bytes.put32(0xe0, JOURNAL_INODE);
    bytes[0xec..0xfc].copy_from_slice(&identity.hash_seed);
    // Half MD4, and a copy of the map of the journal's inode.
    bytes[0xfc] = 1;
    bytes[0xfd] = 1;
    bytes.put16(0xfe, DESCRIPTOR_LEN as u16);
    // user_xattr, acl
    bytes.put32(0x100, 0xc);
    bytes.put32(0x108, identity.time);
    bytes[0x10c..0x148].copy_from_slice(journal);
    bytes.put32(0x148, high32(journal_size));
    bytes.put32(0x14c, low32(journal_size));
    bytes.put32(0x150, high32(geometry.blocks));
    bytes.put32(0x154, high32(reserved));
    bytes.put32(0x158, high32(free.blocks));
    bytes.put16(0x15c, EXTRA_LEN);
    bytes.put16(0x15e, EXTRA_LEN);
    // Hashes of names are those of signed bytes.
    bytes.put32(0x160, 1);
    // 16 groups in a flexible group; checksums are CRC-32C.
    bytes[0x174] = 4;
    bytes[0x175] = 1;
    let checksum = crc32c(START, &bytes[..0x3fc]);
    bytes.put32(0x3fc, checksum);
    bytes
}

/// Returns the first block of an empty journal. Its numbers are big-endian (`fs/jbd2`).
#[allow(clippy::big_endian_bytes)]
pub(super) fn journal_head(blocks: u32) -> Vec<u8> {
    let mut head = vec![0; BLOCK as usize];
    // Magic, type 4 (superblock, version 2), block size, length, first block, first sequence, number of users.
    let fields = [(0, 0xc03b_3998), (4, 4), (12, BLOCK as u32), (16, blocks), (20, 1), (24, 1), (0x40, 1)];
    for (at, value) in fields {
        head[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
    }
    head
}
