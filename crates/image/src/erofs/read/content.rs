//! The position of an inode's content in the image.

use super::error::{Defect, ReadError};
use super::reader::{ImageReader, RawInode};
use crate::erofs::constants::{BLOCK, BLOCK_BITS, MAX_CHUNKS, NULL_CHUNK};
use crate::erofs::record::Layout;
use crate::tree::Kind;

/// The bits of a chunk format that tell the chunk's size (`EROFS_CHUNK_FORMAT_BLKBITS_MASK`).
const CHUNK_BITS_MASK: u16 = 0x1f;

/// The content of an inode as far as the image has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawContent<'a> {
    /// Bytes in the image, in two pieces.
    Flat(Flat<'a>),
    /// Chunks that lead nowhere: the content is an object.
    External {
        /// The logarithm of the chunks' size.
        chunk_bits: u32,
        /// The number of chunks.
        chunks: u64,
        /// The length of the pointers after the attributes: 0 if they were moved to another place, where no reader
        /// finds them.
        pointers_len: u64,
    },
    /// Devices, FIFOs and sockets have none.
    Special,
}

/// Bytes in the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flat<'a> {
    /// Those in blocks, without the padding of the last.
    pub blocks: &'a [u8],
    /// The offset of the blocks in the file.
    pub blocks_offset: u64,
    /// The bytes after the attributes.
    pub tail: &'a [u8],
    /// The offset of the tail in the file.
    pub tail_offset: u64,
}

impl Flat<'_> {
    /// Returns `true` if the inode has no content in the image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.tail.is_empty()
    }
}

impl<'a> ImageReader<'a> {
    /// The content of an inode.
    pub fn content(&self, inode: &RawInode) -> Result<RawContent<'a>, ReadError> {
        let record = inode.record();
        match (inode.kind(), record.layout) {
            (Kind::Regular, Layout::Chunks) => self.chunks(inode),
            (_, Layout::Chunks) => Err(inode.error(Defect::ChunksOfOther, inode.offset())),
            (Kind::Regular | Kind::Directory | Kind::Symlink, _) => self.flat(inode).map(RawContent::Flat),
            _ => Ok(RawContent::Special),
        }
    }

    /// The content of a directory, a symlink, or a file that is in the image; nothing for others.
    pub fn flat_content(&self, inode: &RawInode) -> Result<Flat<'a>, ReadError> {
        match self.content(inode)? {
            RawContent::Flat(flat) => Ok(flat),
            RawContent::External { .. } | RawContent::Special => Ok(Flat::default()),
        }
    }

    fn flat(&self, inode: &RawInode) -> Result<Flat<'a>, ReadError> {
        let record = inode.record();
        let size = record.size;
        // As in the kernel (`erofs_map_blocks`): an inode with a tail has its last block, even a whole one, after the
        // inode.
        let tail_len = match record.layout {
            Layout::Inline if size > 0 => size - (size.div_ceil(BLOCK) - 1) * BLOCK,
            _ => 0,
        };
        let tail_offset = inode.tail_offset();
        let tail = self.slice(tail_offset, tail_len);
        let tail = tail.ok_or_else(|| inode.error(Defect::TailOutside { len: tail_len }, tail_offset))?;
        if tail_offset % BLOCK + tail_len > BLOCK {
            return Err(inode.error(Defect::TailCrosses { len: tail_len }, tail_offset));
        }
        let in_blocks = size - tail_len;
        if in_blocks == 0 {
            return Ok(Flat { tail, tail_offset, ..Flat::default() });
        }
        let block = record.union_field;
        let blocks_offset = u64::from(block) * BLOCK;
        let blocks = in_blocks.checked_next_multiple_of(BLOCK).and_then(|whole| self.slice(blocks_offset, whole));
        let blocks = blocks.and_then(|blocks| blocks.get(..usize::try_from(in_blocks).ok()?));
        let blocks =
            blocks.ok_or_else(|| inode.error(Defect::BlocksOutside { block, size: in_blocks }, inode.offset()))?;
        Ok(Flat { blocks, blocks_offset, tail, tail_offset })
    }

    fn chunks(&self, inode: &RawInode) -> Result<RawContent<'a>, ReadError> {
        let record = inode.record();
        // The high half is the block of pointers that were moved, or what else a writer left there.
        let format = record.union_field as u16;
        if format & !CHUNK_BITS_MASK != 0 {
            return Err(inode.error(Defect::ChunkFormat(format), inode.offset()));
        }
        let chunk_bits = u32::from(format) + BLOCK_BITS;
        let chunks = record.size.div_ceil(1 << chunk_bits);
        if chunks > MAX_CHUNKS {
            return Err(inode.error(Defect::ChunkCount(chunks), inode.offset()));
        }
        let (offset, len) = (inode.tail_offset(), chunks * NULL_CHUNK.len() as u64);
        if offset % BLOCK + len > BLOCK {
            return Ok(RawContent::External { chunk_bits, chunks, pointers_len: 0 });
        }
        let pointers = self.slice(offset, len);
        let pointers = pointers.ok_or_else(|| inode.error(Defect::TailOutside { len }, offset))?;
        match pointers.as_chunks().0.iter().zip(0..).find(|(pointer, _)| **pointer != NULL_CHUNK) {
            None => Ok(RawContent::External { chunk_bits, chunks, pointers_len: len }),
            Some((_, chunk)) => Err(inode.error(Defect::ChunkInImage(chunk), offset + 4 * chunk)),
        }
    }
}
