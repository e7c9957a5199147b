//! Segments: large contents are coded in pieces, each with a part of the bases (`docs/format/frame.md`, section 3).

/// Size of a segment of the content, in bytes. The last one may be shorter.
pub(crate) const SEGMENT_SIZE: u64 = 32 << 20;
/// Most bytes of the bases that one segment uses.
pub(crate) const PREFIX_MAX: u64 = 64 << 20;

/// A segment of a content, and the part of the bases that it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Number of bytes of the content.
    pub(crate) len: u64,
    /// Offset in the concatenated bases.
    pub(crate) prefix: u64,
    /// Number of bytes of the concatenated bases.
    pub(crate) prefix_len: u64,
}

/// Returns the segments of a content of `size` bytes with bases of `bases` bytes. An empty content has one segment.
pub(crate) fn segments(size: u64, bases: u64) -> impl Iterator<Item = Segment> {
    segments_of(SEGMENT_SIZE, size, bases)
}

/// Returns the segments of `segment_size` bytes, with prefixes that are twice as long.
pub(crate) fn segments_of(segment_size: u64, size: u64, bases: u64) -> impl Iterator<Item = Segment> {
    (0..size.div_ceil(segment_size).max(1)).map(move |number| {
        let offset = number * segment_size;
        let len = segment_size.min(size - offset);
        let prefix_len = bases.min(segment_size * 2);
        // The same share of the bases as of the content lies before the middle of the segment.
        let middle = u128::from(offset + len / 2) * u128::from(bases) / u128::from(size.max(1));
        let middle = u64::try_from(middle).unwrap_or(u64::MAX);
        let prefix = middle.saturating_sub(prefix_len / 2).min(bases - prefix_len);
        Segment { len, prefix, prefix_len }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_contents_have_one_segment_with_all_bases() {
        assert!(segments(0, 0).eq([Segment { len: 0, prefix: 0, prefix_len: 0 }]));
        assert!(segments(5, PREFIX_MAX).eq([Segment { len: 5, prefix: 0, prefix_len: PREFIX_MAX }]));
    }

    #[test]
    fn segments_move_over_the_bases() {
        let (size, bases) = (SEGMENT_SIZE * 4 + 7, PREFIX_MAX * 3);
        let all: Vec<_> = segments(size, bases).collect();
        assert_eq!(all.iter().map(|one| one.len).sum::<u64>(), size);
        assert_eq!((all[0].prefix, all[4].prefix + all[4].prefix_len), (0, bases));
        assert!(all.is_sorted_by_key(|one| one.prefix));
        assert!(all.iter().all(|one| one.prefix_len == PREFIX_MAX && one.prefix + one.prefix_len <= bases));
        assert_eq!(segments(u64::MAX / 2, u64::MAX).nth(3).unwrap().len, SEGMENT_SIZE);
    }
}
