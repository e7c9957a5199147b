//! The plain bytes that a predictor looks at.

/// A part of the plain bytes of a stream.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct PlainWindow<'p> {
    /// The bytes from `base` on.
    pub(in super::super) bytes: &'p [u8],
    /// Position of the first byte in the stream.
    pub(in super::super) base: u64,
    /// Position of the end of the stream, or that of `bytes` if nothing beyond is looked at.
    pub(in super::super) end: u64,
}

impl PlainWindow<'_> {
    /// Returns the index of a position in `bytes`.
    pub(super) fn at(&self, position: u64) -> usize {
        (position - self.base) as usize
    }

    /// Returns the 4 bytes at an index, the first one lowest; zeros follow the end.
    pub(super) fn four(&self, at: usize) -> u32 {
        self.eight(at) as u32
    }

    /// Returns the 8 bytes at an index, the first one lowest; zeros follow the end.
    pub(super) fn eight(&self, at: usize) -> u64 {
        if let Some(bytes) = self.bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()) {
            return u64::from_le_bytes(bytes);
        }
        let rest = self.bytes.get(at..).unwrap_or_default().iter().take(8);
        rest.rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    /// Returns the number of equal bytes at two indexes, at most `max`, which must not go beyond the end at the second,
    /// the larger one.
    pub(super) fn match_len(&self, earlier: usize, later: usize, max: usize) -> usize {
        let (earlier, later) = (&self.bytes[earlier..], &self.bytes[later..]);
        let max = max.min(later.len());
        let mut len = 0;
        while len + 8 <= max {
            let eight = |bytes: &[u8]| bytes[len..len + 8].try_into().map(u64::from_le_bytes).unwrap_or_default();
            let difference = eight(earlier) ^ eight(later);
            if difference != 0 {
                return len + difference.trailing_zeros() as usize / 8;
            }
            len += 8;
        }
        while len < max && earlier[len] == later[len] {
            len += 1;
        }
        len
    }
}
