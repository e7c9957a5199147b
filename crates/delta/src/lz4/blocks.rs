//! The blocks of an LZ4 file are taken apart: contents, lengths and distances.

use super::sequences::{append, sequences};

/// Magic number of the legacy format, in which Linux kernels are packed.
const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// Most bytes of an unpacked block.
pub(super) const BLOCK_MAX: usize = 8 << 20;
/// Most bytes of a packed block: what an encoder makes of a block of random bytes.
pub(super) const PACKED_MAX: usize = BLOCK_MAX + BLOCK_MAX / 255 + 16;
/// Most blocks of a file.
pub(super) const BLOCKS_MAX: usize = 4096;
/// Most bytes of all unpacked blocks.
const UNPACKED_MAX: usize = 64 << 20;
/// Most bytes of an outline, and of the ranks.
pub(super) const LIST_MAX: usize = 16 << 20;
/// Most bytes that a decoder keeps, beside as many as the larger of the object and the base has.
const KEPT_MAX: usize = 44 << 20;
/// Most places where blocks are looked for in one file.
const PLACES_MAX: usize = 4;

/// Returns the most bytes that the blocks of a file of `size` bytes have unpacked.
pub(super) fn unpacked_max(size: usize) -> usize {
    size.saturating_mul(16).saturating_add(64).min(UNPACKED_MAX)
}

/// Returns whether a decoder may keep the unpacked blocks of the base, the outline and the ranks of the object at once.
/// `larger` is the size of the larger of the object and the base.
pub(super) fn fits(unpacked: usize, outline: usize, ranks: usize, larger: usize) -> bool {
    outline.max(ranks) <= LIST_MAX && unpacked + outline + ranks <= larger.saturating_add(KEPT_MAX)
}

/// A block, by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockInfo {
    /// Number of bytes of the unpacked block.
    pub(super) unpacked: usize,
    /// Number of matches.
    pub(super) matches: usize,
}

/// Successive blocks of a file.
#[derive(Debug, Default)]
pub(super) struct Lz4Blocks {
    /// Offset of the first block in the file.
    pub(super) start: usize,
    /// Offset of the byte after the last block.
    pub(super) end: usize,
    pub(super) infos: Vec<BlockInfo>,
    /// Number of bytes of all unpacked blocks.
    pub(super) unpacked: usize,
    /// Tokens and the bytes that continue their lengths, of all blocks.
    pub(super) lengths: Vec<u8>,
    /// Distances of all matches.
    pub(super) distances: Vec<u16>,
}

impl Lz4Blocks {
    /// Finds the blocks of a file.
    pub(super) fn find(file: &[u8]) -> Option<Self> {
        let places = file.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
        places.take(PLACES_MAX).map(|(at, _)| Self::read(file, at + MAGIC.len())).find(|all| !all.infos.is_empty())
    }

    /// Reads the blocks at an offset, until one is malformed.
    fn read(file: &[u8], start: usize) -> Self {
        let mut blocks = Self { start, end: start, ..Self::default() };
        let limit = unpacked_max(file.len());
        while blocks.infos.len() < BLOCKS_MAX {
            let Some(packed) = packed_block(file, blocks.end) else { break };
            let before = (blocks.lengths.len(), blocks.distances.len());
            let (lengths, distances) = (&mut blocks.lengths, &mut blocks.distances);
            let unpacked = sequences(packed, (limit - blocks.unpacked).min(BLOCK_MAX), &mut |sequence| {
                lengths.extend_from_slice(sequence.head);
                lengths.extend_from_slice(sequence.tail);
                distances.extend(sequence.distance);
            });
            let Some(unpacked) = unpacked else {
                blocks.lengths.truncate(before.0);
                blocks.distances.truncate(before.1);
                break;
            };
            blocks.infos.push(BlockInfo { unpacked, matches: blocks.distances.len() - before.1 });
            blocks.unpacked += unpacked;
            blocks.end += 4 + packed.len();
        }
        blocks
    }

    /// Unpacks the blocks of the file in which they were found.
    pub(super) fn content(&self, file: &[u8]) -> Vec<u8> {
        let (mut content, mut at) = (Vec::with_capacity(self.unpacked), self.start);
        while let Some(packed) = packed_block(file, at).filter(|_| at < self.end) {
            sequences(packed, BLOCK_MAX, &mut |sequence| append(&mut content, &sequence));
            at += 4 + packed.len();
        }
        content
    }

    /// The bytes of a file that are in its blocks without their contents, and those around the blocks.
    pub(super) fn outline(&self, file: &[u8]) -> Vec<u8> {
        [&file[..self.start], &self.lengths, &file[self.end..]].concat()
    }
}

/// The packed block whose length is at an offset of a file.
fn packed_block(file: &[u8], at: usize) -> Option<&[u8]> {
    let (len, rest) = file.get(at..)?.split_first_chunk::<4>()?;
    rest.get(..u32::from_le_bytes(*len) as usize).filter(|packed| packed.len() <= PACKED_MAX)
}
