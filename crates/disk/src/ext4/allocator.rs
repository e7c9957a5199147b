//! The blocks of a file system, given out in ascending order.

use std::ops::Range;

use super::geometry::{GROUP_BLOCKS, Geometry};

/// Blocks one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockRun {
    pub(super) start: u64,
    pub(super) len: u64,
}

/// Gives out blocks, and knows which are used.
#[derive(Debug)]
pub(super) struct Allocator {
    next: u64,
    end: u64,
    /// Copies of the superblock and the descriptors, in ascending order.
    reserved: Vec<Range<u64>>,
    /// Index of the first reserved range that ends after `next`.
    at: usize,
    /// Everything used, in ascending order and joined.
    used: Vec<Range<u64>>,
}

impl Allocator {
    pub(super) fn new(geometry: &Geometry) -> Self {
        let len = 1 + geometry.descriptor_blocks;
        let reserved: Vec<_> = geometry
            .groups_with_superblock()
            .map(|group| group * GROUP_BLOCKS..(group * GROUP_BLOCKS + len).min(geometry.blocks))
            .collect();
        Self { next: 0, end: geometry.blocks, reserved, at: 0, used: Vec::new() }
    }

    /// Gives out at most `most` blocks; `None` if the file system is full.
    pub(super) fn run(&mut self, most: u64) -> Option<BlockRun> {
        self.skip_reserved();
        let end = self.reserved.get(self.at).map_or(self.end, |range| range.start.min(self.end));
        let len = most.min(end.saturating_sub(self.next));
        if len == 0 {
            return None;
        }
        let start = self.next;
        self.take(start..start + len);
        self.next = start + len;
        Some(BlockRun { start, len })
    }

    /// Gives out `len` blocks one after the other.
    pub(super) fn contiguous(&mut self, len: u64) -> Option<u64> {
        loop {
            self.skip_reserved();
            let start = self.next;
            match self.reserved.get(self.at) {
                Some(range) if range.start < start + len => self.next = range.end,
                _ if start + len > self.end => return None,
                _ => {
                    self.take(start..start + len);
                    self.next = start + len;
                    return Some(start);
                }
            }
        }
    }

    fn skip_reserved(&mut self) {
        while let Some(range) = self.reserved.get(self.at).cloned() {
            if range.start > self.next {
                return;
            }
            self.next = self.next.max(range.end);
            self.take(range);
            self.at += 1;
        }
    }

    fn take(&mut self, range: Range<u64>) {
        match self.used.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.used.push(range),
        }
    }

    /// Returns all used ranges, once nothing more is given out.
    pub(super) fn finish(mut self) -> Vec<Range<u64>> {
        let rest = self.reserved.split_off(self.at.min(self.reserved.len()));
        for range in rest {
            self.take(range);
        }
        self.used.sort_unstable_by_key(|range| range.start);
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext4::geometry::BLOCK;

    #[test]
    fn runs_end_before_copies_of_the_superblock() {
        let geometry = Geometry::new(3 * GROUP_BLOCKS * BLOCK, 1).unwrap();
        let mut allocator = Allocator::new(&geometry);
        assert_eq!(allocator.run(10), Some(BlockRun { start: 2, len: 10 }));
        assert_eq!(allocator.run(u64::MAX), Some(BlockRun { start: 12, len: GROUP_BLOCKS - 12 }));
        assert_eq!(allocator.contiguous(5), Some(GROUP_BLOCKS + 2));
        assert_eq!(allocator.run(u64::MAX), Some(BlockRun { start: GROUP_BLOCKS + 7, len: 2 * GROUP_BLOCKS - 7 }));
        assert_eq!(allocator.run(1), None);
        assert_eq!(allocator.contiguous(1), None);
        assert_eq!(allocator.finish().as_slice(), std::slice::from_ref(&(0..3 * GROUP_BLOCKS)));
    }

    #[test]
    fn what_is_contiguous_leaves_a_gap() {
        let geometry = Geometry::new(2 * GROUP_BLOCKS * BLOCK, 1).unwrap();
        let mut allocator = Allocator::new(&geometry);
        allocator.run(GROUP_BLOCKS - 10);
        assert_eq!(allocator.contiguous(20), Some(GROUP_BLOCKS + 2));
        assert_eq!(allocator.finish(), [0..GROUP_BLOCKS - 8, GROUP_BLOCKS..GROUP_BLOCKS + 22]);
    }
}
