//! The EROFS superblock (`struct erofs_super_block`, `fs/erofs/erofs_fs.h`).

use super::constants::{BLOCK_BITS, SUPERBLOCK_OFFSET};
use crate::tree::Timestamp;

/// The first four bytes.
pub(super) const MAGIC: u32 = 0xe0f5_e1e2;
/// Compatible feature: there is a checksum. Images of composefs have none.
pub(super) const FEATURE_CHECKSUM: u32 = 0x1;
/// The offset of the checksum in the superblock.
pub(super) const CHECKSUM_OFFSET: usize = 4;
/// Compatible feature: compact inodes have the build time.
pub(super) const FEATURE_MTIME: u32 = 0x2;
/// Compatible feature: the attributes of each inode have a name filter.
pub(super) const FEATURE_XATTR_FILTER: u32 = 0x4;
/// Incompatible feature: files may be made of chunks. The C tools use chunks without saying so.
pub(super) const FEATURE_CHUNKED_FILE: u32 = 0x4;
/// The length of the superblock in bytes.
pub(super) const LEN: usize = 128;

/// The fields in use. All others are zero in what is written, and without effect on what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Superblock {
    /// Features that a reader may pass over (`EROFS_FEATURE_COMPAT_*`).
    pub features: u32,
    /// Features that a reader must know (`EROFS_FEATURE_INCOMPAT_*`).
    pub needed_features: u32,
    /// The logarithm of the block size.
    pub block_bits: u8,
    /// The same for directories, less the one of the blocks: 0.
    pub directory_block_bits: u8,
    /// The number of the root directory's inode.
    pub root_nid: u16,
    /// The number of inodes, including those that only images have.
    pub inode_count: u64,
    /// The time of compact inodes.
    pub build_time: Timestamp,
    /// Length of the file system in blocks.
    pub blocks: u32,
    /// The block that nids count from.
    pub inode_block: u32,
    /// The block that references to shared attributes count from.
    pub xattr_block: u32,
    /// Not zero if the name filters are of an unknown kind.
    pub xattr_filter_reserved: u8,
}

impl Default for Superblock {
    /// Without an inode, otherwise as every image of versions 0 and 1 has it.
    fn default() -> Self {
        Self {
            features: FEATURE_MTIME | FEATURE_XATTR_FILTER,
            needed_features: 0,
            block_bits: BLOCK_BITS as u8,
            directory_block_bits: 0,
            root_nid: 0,
            inode_count: 0,
            build_time: Timestamp::default(),
            blocks: 0,
            inode_block: 0,
            xattr_block: 0,
            xattr_filter_reserved: 0,
        }
    }
}

impl Superblock {
    pub(super) fn emit(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let mut put = |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
        put(0, &MAGIC.to_le_bytes());
        put(8, &self.features.to_le_bytes());
        put(12, &[self.block_bits]);
        put(14, &self.root_nid.to_le_bytes());
        put(16, &self.inode_count.to_le_bytes());
        put(24, &self.build_time.sec.to_le_bytes());
        put(32, &self.build_time.nsec.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(40, &self.inode_block.to_le_bytes());
        put(44, &self.xattr_block.to_le_bytes());
        put(80, &self.needed_features.to_le_bytes());
        put(90, &[self.directory_block_bits]);
        put(104, &[self.xattr_filter_reserved]);
        bytes
    }

    /// Parses the fields after checking the magic number; the error is the number found.
    pub(super) fn parse(bytes: &[u8; LEN]) -> Result<Self, u32> {
        let word = |offset: usize| u32::from_le_bytes(field(bytes, offset));
        if word(0) != MAGIC {
            return Err(word(0));
        }
        Ok(Self {
            features: word(8),
            needed_features: word(80),
            block_bits: bytes[12],
            directory_block_bits: bytes[90],
            root_nid: u16::from_le_bytes(field(bytes, 14)),
            inode_count: u64::from_le_bytes(field(bytes, 16)),
            build_time: Timestamp { sec: i64::from_le_bytes(field(bytes, 24)), nsec: word(32) },
            blocks: word(36),
            inode_block: word(40),
            xattr_block: word(44),
            xattr_filter_reserved: bytes[104],
        })
    }
}

/// A field of a record, by its place.
pub(super) fn field<const N: usize, const LEN: usize>(record: &[u8; LEN], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&record[offset..offset + N]);
    field
}

const _: () = assert!(SUPERBLOCK_OFFSET as usize + LEN == super::constants::INODES_OFFSET as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_both_ways() {
        let superblock = Superblock {
            features: 1,
            needed_features: 2,
            block_bits: 3,
            directory_block_bits: 4,
            root_nid: 5,
            inode_count: 6,
            build_time: Timestamp { sec: -7, nsec: 8 },
            blocks: 9,
            inode_block: 10,
            xattr_block: 11,
            xattr_filter_reserved: 12,
        };
        let mut bytes = superblock.emit();
        assert_eq!(Superblock::parse(&bytes), Ok(superblock));
        bytes[0] = 0;
        assert_eq!(Superblock::parse(&bytes), Err(MAGIC & !0xff));
    }
}
