//! Byte ranges of a blob, and merging them to few requests.

use std::ops::Range;

/// A range of bytes of a blob: from an offset up to another, which is not a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte.
    pub end: u64,
}

impl ByteRange {
    /// Returns the number of bytes.
    #[must_use]
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Returns true if there are no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl From<Range<u64>> for ByteRange {
    fn from(range: Range<u64>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// Merges ranges, which are in ascending order and do not overlap, by including the bytes between some of them: the
/// shortest gaps first, up to `extra` bytes in all, and further until at most `count_max` ranges are left.
///
/// ```
/// use libcomposefs_oci::zstd_chunked::{ByteRange, merge};
///
/// let ranges: Vec<ByteRange> = [0..10, 12..20, 60..70, 75..80].map(Into::into).to_vec();
/// assert_eq!(merge(&ranges, 6, 100), [(0..20).into(), ByteRange::from(60..70), (75..80).into()]);
/// assert_eq!(merge(&ranges, 7, 100), [ByteRange::from(0..20), (60..80).into()]);
/// assert_eq!(merge(&ranges, 0, 1), [ByteRange::from(0..80)]);
/// ```
#[must_use]
pub fn merge(ranges: &[ByteRange], extra: u64, count_max: usize) -> Vec<ByteRange> {
    let gap = |index: usize| ranges[index + 1].start.saturating_sub(ranges[index].end);
    let mut by_gap: Vec<usize> = (0..ranges.len().saturating_sub(1)).collect();
    by_gap.sort_by_key(|index| (gap(*index), *index));
    let mut is_merged = vec![false; ranges.len()];
    let (mut included, mut count) = (0u64, ranges.len());
    for index in by_gap {
        included = included.saturating_add(gap(index));
        if included > extra && count <= count_max.max(1) {
            break;
        }
        is_merged[index] = true;
        count -= 1;
    }
    let mut merged: Vec<ByteRange> = Vec::with_capacity(count);
    let mut joins_last = false;
    for (range, joins_next) in ranges.iter().zip(is_merged) {
        match merged.last_mut() {
            Some(last) if joins_last => last.end = range.end,
            _ => merged.push(*range),
        }
        joins_last = joins_next;
    }
    merged
}
