//! The chunks in which an encoder takes its input, and the part of the input that it still knows.
//!
//! Beyond the end of a chunk such an encoder does not look. pgzip gives each segment to an encoder of its own, which
//! knows only the end of the segment before.

use super::PlainWindow;

/// Size of a chunk, in bytes.
const CHUNK: u64 = 65535;
/// Number of bytes of the segment before that an encoder knows.
const DICTIONARY: u64 = 16384;
/// Size of the history after which the encoder forgets all but the last 32 KiB.
const HISTORY: u64 = CHUNK * 5;
/// The largest distance of a match.
pub(super) const DISTANCE_MAX: u64 = 32768;

/// The present chunk of an encoder, and its history.
#[derive(Debug)]
pub(super) struct EncoderChunks {
    segment: u64,
    /// First position that the encoder knows.
    pub(super) history: u64,
    /// End of the present chunk.
    pub(super) end: u64,
}

impl EncoderChunks {
    pub(super) fn new(segment: u32) -> Self {
        Self { segment: segment.into(), history: 0, end: 0 }
    }

    fn segment_start(&self, position: u64) -> u64 {
        position.checked_rem(self.segment).map_or(0, |offset| position - offset)
    }

    /// Returns the end of the chunk that begins at a position, in a stream that does not end before.
    pub(super) fn end_of_chunk(&self, position: u64) -> u64 {
        let start = self.segment_start(position);
        let end = position - (position - start) % CHUNK + CHUNK;
        if self.segment > 0 { end.min(start + self.segment) } else { end }
    }

    pub(super) fn horizon(&self, position: u64) -> u64 {
        if position < self.end { self.end } else { self.end_of_chunk(position) }
    }

    pub(super) fn run_max(&self, position: u64) -> u64 {
        self.end.saturating_sub(position).max(1)
    }

    /// Returns whether a segment other than the first one begins at a position.
    pub(super) fn is_new_segment(&self, position: u64) -> bool {
        self.segment > 0 && position > 0 && position == self.segment_start(position)
    }

    /// Makes the end of the segment before, which the encoder knows, the present chunk. Returns its start.
    pub(super) fn begin_dictionary(&mut self, position: u64) -> u64 {
        self.history = position - DICTIONARY.min(self.segment).min(position);
        self.begin(self.history, position);
        self.history
    }

    pub(super) fn begin(&mut self, start: u64, end: u64) {
        if end - self.history > HISTORY {
            self.history = start.saturating_sub(DISTANCE_MAX).max(self.history);
        }
        self.end = end;
    }

    /// Returns the position of an entry of a table, a position plus 1 as far as it fits into 32 bits (0 for none), if
    /// its distance is at most `distance_max`.
    pub(super) fn position(&self, entry: u32, at: u64, distance_max: u64) -> Option<u64> {
        let distance = u64::from(self::entry(at).wrapping_sub(entry));
        let from = at.checked_sub(distance)?;
        (entry != 0 && distance > 0 && distance <= distance_max && from >= self.history).then_some(from)
    }

    /// Returns the position of such an entry, if its first 4 bytes are these.
    pub(super) fn same_four(
        &self,
        plain: &PlainWindow<'_>,
        entry: u32,
        (at, four): (u64, u32),
        distance_max: u64,
    ) -> Option<u64> {
        let from = self.position(entry, at, distance_max)?;
        (plain.four(plain.at(from)) == four).then_some(from)
    }

    /// Returns the length of a match that begins with 4 equal bytes, at most `max`.
    pub(super) fn len(&self, plain: &PlainWindow<'_>, from: u64, at: u64, max: u64) -> u64 {
        let max = max.min(self.end - at);
        plain.match_len(plain.at(from), plain.at(at), max as usize) as u64
    }

    /// Returns by how many bytes a match can begin earlier, in bytes that were not written before.
    pub(super) fn bytes_before(&self, plain: &PlainWindow<'_>, from: u64, at: u64, unwritten: u64) -> u64 {
        let max = from.saturating_sub(self.history).min(at.saturating_sub(unwritten));
        let before = |position: u64, count: u64| plain.bytes[plain.at(position - count) - 1];
        (0..max).find(|count| before(from, *count) != before(at, *count)).unwrap_or(max)
    }
}

/// Returns the entry of a position in a table.
pub(super) fn entry(position: u64) -> u32 {
    (position as u32).wrapping_add(1)
}
