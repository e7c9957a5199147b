//! Blocks are packed again, from their contents, lengths and ranks.

use std::io::{self, BufRead, Read};

use super::blocks::{BLOCK_MAX, BLOCKS_MAX, BlockInfo, Lz4Blocks, MATCH_MIN, unpacked_max};
use super::chains::{Chains, NO_RANK};
use super::coder::invalid;
use crate::number::read_number;
use crate::zstd_coder;

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
    packed: Vec<u8>,
}

impl BlockRebuilder {
    /// Reads the beginning of a frame for a content of `size` bytes. Returns the unpacked blocks of the base, too.
    pub(crate) fn read(input: &mut impl BufRead, base: &[u8], size: u64) -> io::Result<(Self, Vec<u8>)> {
        let mut number = || usize::try_from(read_number(input)?).map_err(|_| invalid("a number is too large"));
        let (base_start, base_count) = (number()?, number()?);
        let (start, count) = (number()?, number()?);
        if base_start > base.len() || base_count.max(count) > BLOCKS_MAX {
            return Err(invalid("there are more than 4096 blocks, or they begin after the end of the base"));
        }
        let infos: Vec<BlockInfo> =
            (0..count).map(|_| Ok(BlockInfo { unpacked: number()?, matches: number()? })).collect::<io::Result<_>>()?;
        let sum = infos.iter().try_fold(0usize, |sum, info| sum.checked_add(info.unpacked));
        let size = usize::try_from(size).map_err(|_| invalid("the object is too large"))?;
        if sum.is_none_or(|sum| sum > unpacked_max(size)) || infos.iter().any(|info| info.unpacked > BLOCK_MAX) {
            return Err(invalid("the unpacked blocks are too large"));
        }
        let in_base = Lz4Blocks::read(base, base_start, base_count);
        if in_base.infos.len() != base_count {
            return Err(invalid("the base has no such block"));
        }
        let outline = read_limited(input, &in_base.outline(base), size)?;
        let ranks = read_limited(input, &[], size)?;
        if start > outline.len() {
            return Err(invalid("the blocks begin after the end of the object"));
        }
        let (done, lengths_used, ranks_used) = (0, start, 0);
        let (chains, block, packed) = (Chains::new(), Vec::new(), Vec::new());
        let blocks = Self { infos, done, outline, start, lengths_used, ranks, ranks_used, chains, block, packed };
        Ok((blocks, in_base.content))
    }

    /// Returns the number of bytes of all unpacked blocks.
    pub(crate) fn unpacked_size(&self) -> u64 {
        self.infos.iter().map(|info| info.unpacked as u64).sum()
    }

    /// Returns the bytes before the first block.
    pub(crate) fn before(&self) -> &[u8] {
        &self.outline[..self.start]
    }

    /// Reads `left` unpacked bytes, or less up to the end of a block. Returns the packed block, if it is complete.
    pub(crate) fn next(&mut self, unpacked: &mut impl Read, left: &mut u64) -> io::Result<Option<&[u8]>> {
        let Some(info) = self.infos.get(self.done).copied() else { return Ok(None) };
        let wanted = ((info.unpacked - self.block.len()) as u64).min(*left);
        let read = unpacked.take(wanted).read_to_end(&mut self.block)?;
        if (read as u64) < wanted {
            return Err(invalid("an unpacked block is too short"));
        }
        *left -= wanted;
        if self.block.len() < info.unpacked {
            return Ok(None);
        }
        self.pack(info.matches)?;
        self.block.clear();
        self.done += 1;
        Ok(Some(&self.packed))
    }

    /// Returns the bytes after the last block, when all are complete.
    pub(crate) fn after(&self) -> io::Result<&[u8]> {
        if self.done < self.infos.len() || self.ranks_used < self.ranks.len() {
            return Err(invalid("there are more blocks or ranks than their contents need"));
        }
        Ok(&self.outline[self.lengths_used..])
    }

    fn pack(&mut self, matches: usize) -> io::Result<()> {
        self.chains.clear();
        self.packed.clear();
        self.packed.extend_from_slice(&[0; 4]);
        let mut at = 0;
        for _ in 0..matches {
            let token = self.literals(&mut at)?;
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
        self.literals(&mut at)?;
        if at < self.block.len() {
            return Err(invalid("a block is longer than its matches"));
        }
        let len = (self.packed.len() - 4) as u32;
        self.packed[..4].copy_from_slice(&len.to_le_bytes());
        Ok(())
    }

    /// Packs a token and its literals.
    fn literals(&mut self, at: &mut usize) -> io::Result<u8> {
        let first = self.lengths_used;
        let token = *self.outline.get(first).ok_or_else(|| invalid("the lengths end too early"))?;
        self.lengths_used += 1;
        let len = self.length(token >> 4)?;
        let literals = self.block[*at..].get(..len).ok_or_else(|| invalid("literals are longer than their block"))?;
        self.packed.extend_from_slice(&self.outline[first..self.lengths_used]);
        self.packed.extend_from_slice(literals);
        *at += len;
        Ok(token)
    }

    fn length(&mut self, first: u8) -> io::Result<usize> {
        let mut len = usize::from(first);
        let mut last = if first == 15 { 255 } else { 0 };
        while last == 255 {
            last = *self.outline.get(self.lengths_used).ok_or_else(|| invalid("the lengths end too early"))?;
            self.lengths_used += 1;
            len += usize::from(last);
        }
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
