//! The map of a file: extents in the inode, or in blocks of their own.

use super::allocator::BlockRun;
use super::bytes::{PutLe as _, high32, low16, low32};
use super::checksum::crc32c;
use super::geometry::BLOCK;

/// Most blocks of an extent.
pub(super) const EXTENT_MAX: u64 = 32768;
/// Extents that an inode has room for.
const IN_INODE: usize = 4;
/// Extents that a block has room for, before its checksum.
pub(super) const IN_BLOCK: usize = (BLOCK as usize - 12) / 12;
const MAGIC: u16 = 0xf30a;

/// Blocks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileExtent {
    /// First block in the file.
    pub(super) logical: u32,
    pub(super) run: BlockRun,
}

/// Returns the number of blocks that extents take outside the inode; `None` if there are too many.
pub(super) fn leaf_count(extents: usize) -> Option<usize> {
    let leaves = if extents <= IN_INODE { 0 } else { extents.div_ceil(IN_BLOCK) };
    (leaves <= IN_INODE).then_some(leaves)
}

/// Returns the map in the inode, and the contents of the blocks `leaves`.
pub(super) fn encode(extents: &[FileExtent], leaves: &[u64], seed: u32) -> ([u8; 60], Vec<Vec<u8>>) {
    let mut root = [0; 60];
    if leaves.is_empty() {
        header(&mut root, extents.len(), IN_INODE, 0);
        put(&mut root, extents);
        return (root, Vec::new());
    }
    header(&mut root, leaves.len(), IN_INODE, 1);
    let mut blocks = Vec::new();
    for (index, (part, &leaf)) in extents.chunks(IN_BLOCK).zip(leaves).enumerate() {
        let at = 12 + 12 * index;
        root.put32(at, part[0].logical);
        root.put32(at + 4, low32(leaf));
        root.put16(at + 8, low16(high32(leaf)));
        let mut block = vec![0; BLOCK as usize];
        header(&mut block, part.len(), IN_BLOCK, 0);
        put(&mut block, part);
        let end = 12 + 12 * IN_BLOCK;
        let checksum = crc32c(seed, &block[..end]);
        block.put32(end, checksum);
        blocks.push(block);
    }
    (root, blocks)
}

fn header(node: &mut [u8], entries: usize, max: usize, depth: u16) {
    node.put16(0, MAGIC);
    node.put16(2, entries as u16);
    node.put16(4, max as u16);
    node.put16(6, depth);
}

fn put(node: &mut [u8], extents: &[FileExtent]) {
    for (index, extent) in extents.iter().enumerate() {
        let at = 12 + 12 * index;
        node.put32(at, extent.logical);
        node.put16(at + 4, extent.run.len as u16);
        node.put16(at + 6, low16(high32(extent.run.start)));
        node.put32(at + 8, low32(extent.run.start));
    }
}
