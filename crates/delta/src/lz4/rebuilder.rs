//! Blocks are packed again, from their contents, lengths and ranks.

use std::io::{self, BufRead, Read};

use super::base::Lz4Base;
use super::blocks::{BLOCK_MAX, BLOCKS_MAX, BlockInfo, LIST_MAX, fits, unpacked_max};
use super::chains::{Chains, NO_RANK};
use super::coder::invalid;
use super::sequences::{MATCH_MIN, length};
use crate::number::read_number;
use crate::zstd_coder;

/// Number of bytes of a packed block that are given at once.
const PIECE: usize = 64 << 10;

/// Packs the blocks of a content, as their unpacked bytes are read.
pub(crate) struct BlockRebuilder {
    infos: Vec<BlockInfo>,
    /// Number of blocks that are complete.
    done: usize,
    /// The bytes around the blocks, and the lengths of the blocks.
    outline: Vec<u8>,
    /// Number of bytes of the outline before the first block.
    start: usize,
    lengths_used: usize,
    ranks: Vec<u8>,
    ranks_used: usize,
    chains: Chains,
    /// The beginning of the block that is read.
    block: Vec<u8>,
    /// Packed bytes that are not given yet.
    packed: Vec<u8>,
}

/// Receives packed bytes.
type Emit<'e> = dyn FnMut(&[u8]) -> io::Result<()> + 'e;

impl BlockRebuilder {
    /// Reads the beginning of a frame for a content of `size` bytes. Returns the unpacked blocks of the base, too.
    pub(crate) fn read(input: &mut impl BufRead, base: &mut Lz4Base<'_>, size: u64) -> io::Result<(Self, Vec<u8>)> {
        let mut number = || usize::try_from(read_number(input)?).map_err(|_| invalid("a number is too large"));
        let (base_start, base_count) = (number()?, number()?);
        let (start, count) = (number()?, number()?);
        if base_count.max(count) > BLOCKS_MAX {
            return Err(invalid("there are more than 4096 blocks"));
        }
        let infos: Vec<BlockInfo> =
            (0..count).map(|_| Ok(BlockInfo { unpacked: number()?, matches: number()? })).collect::<io::Result<_>>()?;
        let sum = infos.iter().try_fold(0usize, |sum, info| sum.checked_add(info.unpacked));
        let size = usize::try_from(size).map_err(|_| invalid("the object is too large"))?;
        if sum.is_none_or(|sum| sum > unpacked_max(size)) || infos.iter().any(|info| info.unpacked > BLOCK_MAX) {
            return Err(invalid("the unpacked blocks are too large"));
        }
        let base_outline = base.outline(base_start, base_count)?;
        let outline = read_limited(input, &base_outline, size.min(LIST_MAX))?;
        drop(base_outline);
        let ranks = read_limited(input, &[], size.min(LIST_MAX))?;
        if start > outline.len() {
            return Err(invalid("the blocks begin after the end of the object"));
        }
        if !fits(base.unpacked(), outline.len(), ranks.len(), base.size().max(size)) {
            return Err(invalid("the blocks of the base take too much memory"));
        }
        let (done, lengths_used, ranks_used) = (0, start, 0);
        let (chains, block, packed) = (Chains::new(), Vec::new(), Vec::new());
        let blocks = Self { infos, done, outline, start, lengths_used, ranks, ranks_used, chains, block, packed };
        Ok((blocks, base.content()?))
    }

    /// Returns the number of bytes of all unpacked blocks.
    pub(crate) fn unpacked_size(&self) -> u64 {
        self.infos.iter().map(|info| info.unpacked as u64).sum()
    }

    /// Returns the bytes before the first block.
    pub(crate) fn before(&self) -> &[u8] {
        &self.outline[..self.start]
    }

    /// Reads `left` unpacked bytes, or less up to the end of a block. Gives the packed block, if it is complete.
    pub(crate) fn next(&mut self, unpacked: &mut impl Read, left: &mut u64, emit: &mut Emit<'_>) -> io::Result<()> {
        let Some(info) = self.infos.get(self.done).copied() else { return Ok(()) };
        let wanted = ((info.unpacked - self.block.len()) as u64).min(*left);
        self.block.reserve_exact(info.unpacked - self.block.len());
        let read = unpacked.take(wanted).read_to_end(&mut self.block)?;
        if (read as u64) < wanted {
            return Err(invalid("an unpacked block is too short"));
        }
        *left -= wanted;
        if self.block.len() == info.unpacked {
            self.pack(info.matches, emit)?;
            self.block.clear();
            self.done += 1;
        }
        Ok(())
    }

    /// Returns the bytes after the last block, when all are complete.
    pub(crate) fn after(&self) -> io::Result<&[u8]> {
        if self.done < self.infos.len() || self.ranks_used < self.ranks.len() {
            return Err(invalid("there are more blocks or ranks than their contents need"));
        }
        Ok(&self.outline[self.lengths_used..])
    }

    fn pack(&mut self, matches: usize, emit: &mut Emit<'_>) -> io::Result<()> {
        self.chains.clear();
        self.packed.clear();
        let len = self.packed_len(matches)?;
        self.packed.extend_from_slice(&len.to_le_bytes());
        let mut at = 0;
        for _ in 0..matches {
            let token = self.literals(&mut at, emit)?;
            let lengths = self.lengths_used;
            let len = self.length(token & 15)? + MATCH_MIN;
            if len > self.block.len() - at {
                return Err(invalid("a match is longer than its block"));
            }
            let (distance, used) = match self.ranks[self.ranks_used..] {
                [NO_RANK, low, high, ..] => (Some(u16::from_le_bytes([low, high])), 3),
                [rank, ..] => (self.chains.distance(&self.block, at, len, rank), 1),
                [] => (None, 0),
            };
            let distance = distance.ok_or_else(|| invalid("a rank stands for no match"))?;
            self.ranks_used += used;
            self.packed.extend_from_slice(&distance.to_le_bytes());
            self.packed.extend_from_slice(&self.outline[lengths..self.lengths_used]);
            at += len;
        }
        self.literals(&mut at, emit)?;
        if at < self.block.len() {
            return Err(invalid("a block is longer than its matches"));
        }
        emit(&self.packed)
    }

    /// Returns the number of bytes of the next block when it is packed.
    fn packed_len(&mut self, matches: usize) -> io::Result<u32> {
        let (start, mut len) = (self.lengths_used, 0);
        for number in 0..=matches {
            let token = self.token()?;
            len += self.length(token >> 4)?;
            if number < matches {
                self.length(token & 15)?;
                len += 2;
            }
        }
        len += self.lengths_used - start;
        self.lengths_used = start;
        u32::try_from(len).map_err(|_| invalid("a packed block is too large"))
    }

    /// Packs a token and its literals.
    fn literals(&mut self, at: &mut usize, emit: &mut Emit<'_>) -> io::Result<u8> {
        let first = self.lengths_used;
        let token = self.token()?;
        let len = self.length(token >> 4)?;
        let literals = self.block[*at..].get(..len).ok_or_else(|| invalid("literals are longer than their block"))?;
        self.packed.extend_from_slice(&self.outline[first..self.lengths_used]);
        for piece in literals.chunks(PIECE) {
            self.packed.extend_from_slice(piece);
            if self.packed.len() >= PIECE {
                emit(&self.packed)?;
                self.packed.clear();
            }
        }
        *at += len;
        Ok(token)
    }

    fn token(&mut self) -> io::Result<u8> {
        let token = *self.outline.get(self.lengths_used).ok_or_else(|| invalid("the lengths end too early"))?;
        self.lengths_used += 1;
        Ok(token)
    }

    fn length(&mut self, first: u8) -> io::Result<usize> {
        let mut rest = &self.outline[self.lengths_used..];
        let len = length(first, &mut rest).ok_or_else(|| invalid("the lengths end too early"))?;
        self.lengths_used = self.outline.len() - rest.len();
        Ok(len)
    }
}

fn read_limited(input: &mut impl BufRead, prefix: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    zstd_coder::decoder(input, prefix, limit as u64)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        Err(invalid("there are more lengths or ranks than bytes of the object"))
    } else {
        Ok(bytes)
    }
}
