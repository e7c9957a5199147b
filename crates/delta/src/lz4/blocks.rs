//! The blocks of an LZ4 file are taken apart: contents, lengths and distances.

/// Magic number of the legacy format, in which Linux kernels are packed.
const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// Most bytes of an unpacked block.
pub(super) const BLOCK_MAX: usize = 8 << 20;
/// Most bytes of a packed block: what an encoder makes of a block of random bytes.
const PACKED_MAX: usize = BLOCK_MAX + BLOCK_MAX / 255 + 16;
/// Most blocks of a file.
pub(super) const BLOCKS_MAX: usize = 4096;
/// Most bytes of all unpacked blocks.
const UNPACKED_MAX: usize = 64 << 20;
/// Most places where blocks are looked for in one file.
const PLACES_MAX: usize = 4;
/// Shortest match.
pub(super) const MATCH_MIN: usize = 4;

/// Returns the most bytes that the blocks of a file of `size` bytes have unpacked.
pub(super) fn unpacked_max(size: usize) -> usize {
    size.saturating_mul(16).saturating_add(64).min(UNPACKED_MAX)
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
    /// Tokens and the bytes that continue their lengths, of all blocks.
    pub(super) lengths: Vec<u8>,
    /// Distances of all matches.
    pub(super) distances: Vec<u16>,
    /// The unpacked blocks.
    pub(super) content: Vec<u8>,
}

impl Lz4Blocks {
    /// Finds the blocks of a file.
    pub(super) fn find(file: &[u8]) -> Option<Self> {
        let places = file.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
        places
            .take(PLACES_MAX)
            .map(|(at, _)| Self::read(file, at + MAGIC.len(), BLOCKS_MAX))
            .find(|blocks| !blocks.infos.is_empty())
    }

    /// Reads up to `count` blocks at an offset, until one is malformed.
    pub(super) fn read(file: &[u8], start: usize, count: usize) -> Self {
        let mut blocks = Self { start, end: start, ..Self::default() };
        let limit = unpacked_max(file.len());
        while blocks.infos.len() < count {
            let packed = file.get(blocks.end..).and_then(|rest| rest.split_first_chunk::<4>());
            let packed = packed.and_then(|(len, rest)| rest.get(..u32::from_le_bytes(*len) as usize));
            let Some(packed) = packed.filter(|packed| packed.len() <= PACKED_MAX) else { break };
            let before = (blocks.lengths.len(), blocks.distances.len(), blocks.content.len());
            let room = limit.saturating_sub(before.2).min(BLOCK_MAX);
            if blocks.unpack(packed, room).is_none() {
                blocks.lengths.truncate(before.0);
                blocks.distances.truncate(before.1);
                blocks.content.truncate(before.2);
                break;
            }
            let (unpacked, matches) = (blocks.content.len() - before.2, blocks.distances.len() - before.1);
            blocks.infos.push(BlockInfo { unpacked, matches });
            blocks.end += 4 + packed.len();
        }
        blocks
    }

    /// The bytes of a file that are in its blocks without their contents, and those around the blocks.
    pub(super) fn outline(&self, file: &[u8]) -> Vec<u8> {
        [&file[..self.start], &self.lengths, &file[self.end..]].concat()
    }

    /// Unpacks a block to at most `room` bytes.
    fn unpack(&mut self, mut packed: &[u8], room: usize) -> Option<()> {
        let begin = self.content.len();
        loop {
            let (&token, rest) = packed.split_first()?;
            self.lengths.push(token);
            packed = rest;
            let literals = self.length(token >> 4, &mut packed)?;
            let (literals, rest) = packed.split_at_checked(literals)?;
            if literals.len() > room - (self.content.len() - begin) {
                return None;
            }
            self.content.extend_from_slice(literals);
            let Some((distance, rest)) = rest.split_first_chunk() else {
                return (rest.is_empty() && self.content.len() > begin).then_some(());
            };
            packed = rest;
            let distance = u16::from_le_bytes(*distance);
            let len = self.length(token & 15, &mut packed)? + MATCH_MIN;
            let done = self.content.len() - begin;
            if distance == 0 || usize::from(distance) > done || len > room - done {
                return None;
            }
            self.distances.push(distance);
            self.repeat(usize::from(distance), len);
        }
    }

    /// Reads the rest of a length that begins with four bits.
    fn length(&mut self, first: u8, packed: &mut &[u8]) -> Option<usize> {
        let mut len = usize::from(first);
        let mut last = if first == 15 { 255 } else { 0 };
        while last == 255 {
            (last, *packed) = packed.split_first().map(|(byte, rest)| (*byte, rest))?;
            self.lengths.push(last);
            len += usize::from(last);
        }
        Some(len)
    }

    fn repeat(&mut self, distance: usize, mut len: usize) {
        let from = self.content.len() - distance;
        while len > 0 {
            let piece = len.min(self.content.len() - from);
            self.content.extend_from_within(from..from + piece);
            len -= piece;
        }
    }
}
