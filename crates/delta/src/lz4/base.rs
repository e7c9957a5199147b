//! The base of a frame of unpacked blocks: it is read twice, block by block, so that only one form of it is in memory.

use std::io;

use super::blocks::{BLOCK_MAX, LIST_MAX, PACKED_MAX, unpacked_max};
use super::coder::invalid;
use super::sequences::{append, sequences};
use crate::read_at::ReadAt;

/// Blocks of a base.
pub(crate) struct Lz4Base<'b> {
    base: &'b dyn ReadAt,
    size: usize,
    start: usize,
    count: usize,
    /// Number of bytes of all unpacked blocks, after the outline was read.
    unpacked: usize,
    /// The error of the base, if it could not be read.
    failed: Option<io::Error>,
}

impl<'b> Lz4Base<'b> {
    pub(crate) fn new(base: &'b dyn ReadAt, size: usize) -> Self {
        Self { base, size, start: 0, count: 0, unpacked: 0, failed: None }
    }

    /// Returns the error of the base, if it could not be read.
    pub(crate) fn failed(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    /// Returns the number of bytes of the base.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Returns the number of bytes of all unpacked blocks.
    pub(super) fn unpacked(&self) -> usize {
        self.unpacked
    }

    /// Reads the outline of a base with `count` blocks at `start`.
    pub(super) fn outline(&mut self, start: usize, count: usize) -> io::Result<Vec<u8>> {
        (self.start, self.count) = (start, count);
        if start > self.size.min(LIST_MAX) {
            return Err(invalid("the blocks of the base begin after its end"));
        }
        let mut outline = vec![0; start];
        self.read(0, &mut outline)?;
        let (mut packed, mut at, limit) = (Vec::new(), start, unpacked_max(self.size));
        for _ in 0..count {
            at = self.block(at, &mut packed)?;
            let room = (limit - self.unpacked).min(BLOCK_MAX);
            let unpacked = sequences(&packed, room, &mut |sequence| {
                outline.extend_from_slice(sequence.head);
                outline.extend_from_slice(sequence.tail);
            });
            self.unpacked += unpacked.ok_or_else(no_block)?;
            if outline.len() > LIST_MAX {
                break;
            }
        }
        let (end, rest) = (outline.len(), self.size - at);
        if end + rest > LIST_MAX {
            return Err(invalid("the base has too many bytes around and between its blocks"));
        }
        outline.resize(end + rest, 0);
        self.read(at, &mut outline[end..])?;
        Ok(outline)
    }

    /// Unpacks the blocks whose outline was read.
    pub(super) fn content(&mut self) -> io::Result<Vec<u8>> {
        let (mut content, mut packed, mut at) = (Vec::with_capacity(self.unpacked), Vec::new(), self.start);
        for _ in 0..self.count {
            at = self.block(at, &mut packed)?;
            // A base that has changed meanwhile has another number of bytes.
            let room = (self.unpacked - content.len()).min(BLOCK_MAX);
            sequences(&packed, room, &mut |sequence| append(&mut content, &sequence)).ok_or_else(no_block)?;
        }
        Ok(content)
    }

    /// Reads the packed block whose length is at an offset, and returns the offset after it.
    fn block(&mut self, at: usize, packed: &mut Vec<u8>) -> io::Result<usize> {
        let mut len = [0; 4];
        let left = (self.size - at).checked_sub(len.len()).ok_or_else(no_block)?;
        self.read(at, &mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        if len > left.min(PACKED_MAX) {
            return Err(no_block());
        }
        packed.clear();
        packed.reserve_exact(len);
        packed.resize(len, 0);
        self.read(at + 4, packed)?;
        Ok(at + 4 + len)
    }

    fn read(&mut self, at: usize, buffer: &mut [u8]) -> io::Result<()> {
        self.base.read_at(at as u64, buffer).map_err(|error| {
            self.failed = Some(error);
            io::ErrorKind::Other.into()
        })
    }
}

fn no_block() -> io::Error {
    invalid("the base has no such block")
}
