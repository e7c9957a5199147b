//! The EROFS superblock (`struct erofs_super_block`, `fs/erofs/erofs_fs.h`).

use super::layout::{BLOCK_BITS, SUPERBLOCK_OFFSET};
use crate::tree::Timestamp;

const MAGIC: u32 = 0xe0f5_e1e2;
/// Compatible features: compact inodes have the build time (0x2), attributes have a name filter (0x4).
const FEATURES: u32 = 0x6;
/// Length in bytes.
pub(super) const LEN: usize = 128;

/// What differs from image to image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Superblock {
    pub(super) root_nid: u16,
    pub(super) inode_count: u64,
    pub(super) build_time: Timestamp,
    pub(super) blocks: u32,
    pub(super) xattr_block: u32,
}

impl Superblock {
    pub(super) fn emit(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let mut put = |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
        put(0, &MAGIC.to_le_bytes());
        put(8, &FEATURES.to_le_bytes());
        put(12, &[BLOCK_BITS as u8]);
        put(14, &self.root_nid.to_le_bytes());
        put(16, &self.inode_count.to_le_bytes());
        put(24, &self.build_time.sec.to_le_bytes());
        put(32, &self.build_time.nsec.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(44, &self.xattr_block.to_le_bytes());
        bytes
    }
}

const _: () = assert!(SUPERBLOCK_OFFSET as usize + LEN == super::layout::INODES_OFFSET as usize);
