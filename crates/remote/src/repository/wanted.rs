//! Ranges of a blob that did not arrive yet.

use std::io;
use std::ops::Range;

/// Receiver of bytes by their offset in the blob.
pub(super) type Sink<'a> = dyn FnMut(u64, &[u8]) -> io::Result<()> + 'a;

/// Ranges in ascending order, without overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedRanges {
    left: Vec<Range<u64>>,
}

impl WantedRanges {
    /// Takes the ranges; `None` if they are empty, overlap, are not sorted, or end after `size`.
    pub(super) fn new(ranges: &[Range<u64>], size: u64) -> Option<Self> {
        let mut end = 0;
        for range in ranges {
            if range.start < end || range.is_empty() || range.end > size {
                return None;
            }
            end = range.end;
        }
        Some(Self { left: ranges.to_vec() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Returns the number of bytes that are left.
    pub(super) fn bytes(&self) -> u64 {
        self.left.iter().map(|range| range.end - range.start).sum()
    }

    /// Returns the first ranges as the value of `Range`, and their number.
    pub(super) fn header(&self, most: usize) -> (String, usize) {
        let first = self.left.iter().take(most);
        let texts: Vec<_> = first.map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
        (format!("bytes={}", texts.join(",")), texts.len())
    }

    /// Gives the wanted ones of the bytes at `at` to `sink`, and returns their number.
    ///
    /// Each byte is given once. The bytes of a range are given in ascending order: those of a part that begins in the
    /// middle of what is left of a range are passed over.
    pub(super) fn take(&mut self, at: u64, bytes: &[u8], sink: &mut Sink<'_>) -> io::Result<u64> {
        let end = at.saturating_add(bytes.len() as u64);
        let first = self.left.partition_point(|range| range.start < at);
        let (mut given, mut done) = (0, 0);
        for range in self.left.iter_mut().skip(first).take_while(|range| range.start < end) {
            let stop = range.end.min(end);
            let index = |offset: u64| usize::try_from(offset - at).unwrap_or(usize::MAX);
            let Some(piece) = bytes.get(index(range.start)..index(stop)) else { break };
            sink(range.start, piece)?;
            given += piece.len() as u64;
            range.start = stop;
            done += usize::from(range.is_empty());
        }
        // Only the last one that was touched may be left in part.
        self.left.drain(first..first + done);
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sorted_ranges_within_the_size() {
        for bad in [&[0..0, 1..2][..], &[5..6, 0..1], &[0..3, 2..4], &[0..1, 2..11]] {
            assert_eq!(WantedRanges::new(bad, 10), None, "{bad:?}");
        }
        let wanted = WantedRanges::new(&[0..1, 1..3, 9..10], 10).expect("good ranges");
        assert_eq!((wanted.bytes(), wanted.header(2)), (4, ("bytes=0-0,1-2".to_owned(), 2)));
        assert!(WantedRanges::new(&[], 10).expect("no range").is_empty());
    }

    #[test]
    fn bytes_are_given_once_and_in_order() {
        let mut wanted = WantedRanges::new(&[1..3, 3..4, 6..8], 10).expect("good ranges");
        let mut seen = Vec::new();
        let mut take = |at: u64, bytes: &[u8]| {
            wanted
                .take(at, bytes, &mut |at, bytes: &[u8]| {
                    seen.push((at, String::from_utf8_lossy(bytes).into_owned()));
                    Ok(())
                })
                .expect("the sink takes all")
        };
        assert_eq!(take(0, b"01"), 1);
        // The middle of a range without its beginning.
        assert_eq!(take(7, b"7"), 0);
        assert_eq!(take(0, b"0123456"), 3);
        assert_eq!(take(0, b"0123456789"), 1);
        assert_eq!(take(0, b"0123456789"), 0);
        let expected = [(1, "1"), (2, "2"), (3, "3"), (6, "6"), (7, "7")].map(|(at, text)| (at, text.to_owned()));
        assert_eq!(seen, expected);
        assert!(wanted.is_empty());
    }
}
