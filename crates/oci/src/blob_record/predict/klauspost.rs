//! Matches found by two hash tables, as klauspost/compress does at its levels 5 (the default) and 6.

use super::chunks::{DISTANCE_MAX, EncoderChunks, entry};
use super::{MatchEvent, PlainWindow};

/// Distances are at most this.
const NEAR: u64 = DISTANCE_MAX - 1;
/// Number of bytes at the end of a chunk where no match begins.
const MARGIN: u64 = 11;
/// Bits of a hash.
pub(super) const TABLE_BITS: u32 = 15;
/// Longest match that is found at first.
const MATCH_MAX: u64 = 258;

/// Finds matches by tables.
#[derive(Debug)]
pub(in super::super) struct KlauspostMatcher {
    has_six: bool,
    chunks: EncoderChunks,
    /// For each hash of 4 bytes the last position, plus 1, as far as it fits into 32 bits.
    short: Vec<u32>,
    /// For each hash of 7 bytes the last two positions.
    long: Vec<[u32; 2]>,
    /// The next position to be looked at.
    scan: u64,
    /// The next position that the last search would have looked at.
    next: u64,
    /// The last distance.
    repeat: u64,
}

/// A match that was found.
#[derive(Clone, Copy)]
struct Found {
    at: u64,
    from: u64,
    /// 0 if its length was not computed.
    len: u64,
}

impl KlauspostMatcher {
    pub(super) fn new(has_six: bool, segment: u32) -> Self {
        let (short, long) = (vec![0; 1 << TABLE_BITS], vec![[0; 2]; 1 << TABLE_BITS]);
        Self { has_six, chunks: EncoderChunks::new(segment), short, long, scan: 0, next: 0, repeat: 1 }
    }

    pub(super) fn chunks(&self) -> &EncoderChunks {
        &self.chunks
    }

    pub(super) fn begin_chunk(&mut self, plain: &PlainWindow<'_>, position: u64) -> Option<u64> {
        if position < self.chunks.end {
            return None;
        }
        if self.chunks.is_new_segment(position) {
            self.begin_segment(plain, position);
        }
        self.chunks.begin(position, self.chunks.end_of_chunk(position).min(plain.end));
        (self.scan, self.next, self.repeat) = (position, position, 1);
        Some(self.chunks.end)
    }

    /// Begins with empty tables, and the end of the segment before.
    fn begin_segment(&mut self, plain: &PlainWindow<'_>, position: u64) {
        self.short.fill(0);
        self.long.fill([0; 2]);
        let start = self.chunks.begin_dictionary(position);
        (self.scan, self.next, self.repeat) = (start, start, 1);
        self.run(plain, start);
    }

    /// Runs to the end of the chunk.
    pub(super) fn run(&mut self, plain: &PlainWindow<'_>, mut position: u64) {
        while position < self.chunks.end {
            let event = self.predict(plain, position);
            self.accept(plain, position, event);
            position += u64::from(event.literals) + u64::from(event.len);
        }
    }

    fn put_short(&mut self, four: u32, position: u64) {
        self.short[short_hash(four)] = entry(position);
    }

    fn put_long(&mut self, seven: u64, position: u64) {
        let last = &mut self.long[long_hash(seven)];
        *last = [entry(position), last[0]];
    }

    /// Returns the position of an entry if its 4 bytes are these.
    fn same_four(&self, plain: &PlainWindow<'_>, entry: u32, at: u64, four: u32) -> Option<u64> {
        self.chunks.same_four(plain, entry, (at, four), NEAR)
    }

    fn position(&self, entry: u32, at: u64) -> Option<u64> {
        self.chunks.position(entry, at, NEAR)
    }

    fn len(&self, plain: &PlainWindow<'_>, from: u64, at: u64, max: u64) -> u64 {
        self.chunks.len(plain, from, at, max)
    }

    pub(super) fn predict(&mut self, plain: &PlainWindow<'_>, position: u64) -> MatchEvent {
        let none = MatchEvent { literals: (self.chunks.end - position) as u32, len: 0, distance: 0 };
        // A chunk too short for matches: the encoder does not look at it.
        let Some(limit) = self.chunks.end.checked_sub(MARGIN) else { return none };
        let Some(mut found) = self.search(plain, position, limit) else { return none };
        if found.len == 0 || found.len >= MATCH_MAX {
            found.len = self.len(plain, found.from, found.at, u64::MAX);
        }
        self.improve(plain, &mut found, limit);
        let more = self.chunks.bytes_before(plain, found.from, found.at, position);
        found = Found { at: found.at - more, from: found.from - more, len: found.len + more };
        MatchEvent {
            literals: (found.at - position) as u32,
            len: found.len as u32,
            distance: (found.at - found.from) as u32,
        }
    }

    /// Looks for the first match.
    fn search(&mut self, plain: &PlainWindow<'_>, position: u64, limit: u64) -> Option<Found> {
        let skip = if self.has_six { 7 } else { 6 };
        let mut next_at = self.scan;
        let mut bytes = plain.eight(plain.at(next_at.min(self.chunks.end)));
        loop {
            let at = next_at;
            next_at = at + 1 + (at.saturating_sub(position) >> skip);
            self.next = next_at;
            if next_at > limit {
                return None;
            }
            let (four, next) = (bytes as u32, plain.eight(plain.at(next_at)));
            let (short, long) = (self.short[short_hash(four)], self.long[long_hash(bytes)]);
            self.put_short(four, at);
            self.put_long(bytes, at);
            if let Some(found) = self.long_match(plain, at, four, long) {
                self.put_short(next as u32, next_at);
                self.put_long(next, next_at);
                return Some(found);
            }
            if let Some(from) = self.same_four(plain, short, at, four) {
                let len = self.len(plain, from, at, MATCH_MAX);
                let long = self.long[long_hash(next)];
                self.put_short(next as u32, next_at);
                self.put_long(next, next_at);
                return Some(self.better(plain, Found { at, from, len }, bytes, (next_at, next as u32, long)));
            }
            bytes = next;
        }
    }

    /// Looks at the two positions with the same 7 bytes.
    fn long_match(&self, plain: &PlainWindow<'_>, at: u64, four: u32, [first, second]: [u32; 2]) -> Option<Found> {
        self.position(first, at)?;
        let second = self.same_four(plain, second, at, four);
        let Some(from) = self.same_four(plain, first, at, four) else {
            return second.map(|from| Found { at, from, len: 0 });
        };
        let Some(second) = second else { return Some(Found { at, from, len: 0 }) };
        let (len, other) = (self.len(plain, from, at, MATCH_MAX), self.len(plain, second, at, MATCH_MAX));
        Some(if other > len { Found { at, from: second, len: other } } else { Found { at, from, len } })
    }

    /// Looks for a longer match than one of a short hash: by the last distance, and at the next position.
    fn better(
        &self,
        plain: &PlainWindow<'_>,
        mut found: Found,
        bytes: u64,
        (next_at, next, [first, second]): (u64, u32, [u32; 2]),
    ) -> Found {
        if self.has_six {
            let (at, from) = (found.at + 1, (found.at + 1).saturating_sub(self.repeat));
            if from >= self.chunks.history && plain.four(plain.at(from)) == (bytes >> 8) as u32 {
                let len = self.len(plain, from, at, MATCH_MAX);
                if len > found.len {
                    return Found { at, from, len };
                }
            }
        }
        if self.position(first, next_at).is_none() {
            return found;
        }
        if let Some(from) = self.same_four(plain, first, next_at, next) {
            let len = self.len(plain, from, next_at, MATCH_MAX);
            if len > found.len {
                found = Found { at: next_at, from, len };
                if !self.has_six {
                    return found;
                }
            }
        }
        if let Some(from) = self.same_four(plain, second, next_at, next) {
            let len = self.len(plain, from, next_at, MATCH_MAX);
            if len > found.len {
                found = Found { at: next_at, from, len };
            }
        }
        found
    }

    /// Looks for a longer match by the bytes at its end.
    fn improve(&self, plain: &PlainWindow<'_>, found: &mut Found, limit: u64) {
        const SKIPPED: u64 = 2;
        let end = found.at + found.len;
        if end >= limit || (!self.has_six && found.len >= 30) {
            return;
        }
        let entries = self.long[long_hash(plain.eight(plain.at(end)))];
        let at = found.at + SKIPPED;
        // The distance from `at` is that from the end of the match.
        let distance = |entry: u32| match entry {
            0 => None,
            entry => Some(u64::from((end as u32).wrapping_add(1).wrapping_sub(entry))),
        };
        let count = if self.has_six { 2 } else { 1 };
        let len = found.len;
        for entry in entries.into_iter().take(count) {
            let Some(distance) = distance(entry).filter(|distance| *distance <= NEAR) else { return };
            if distance == 0 || at.checked_sub(distance).is_none_or(|from| from < self.chunks.history) {
                continue;
            }
            let longer = self.len(plain, at - distance, at, u64::MAX);
            if longer > found.len {
                *found = Found { at, from: at - distance, len: longer };
            }
            // The encoder computes the second place from the length after the first one.
            if found.len != len {
                return self.improve_again(plain, found, (end, len), entries[1]);
            }
        }
    }

    /// Looks at the second entry when the first one was better.
    fn improve_again(&self, plain: &PlainWindow<'_>, found: &mut Found, (end, len): (u64, u64), entry: u32) {
        if !self.has_six || entry == 0 {
            return;
        }
        // The place is computed with the new length.
        let distance = u64::from((end as u32).wrapping_add(1).wrapping_sub(entry));
        let distance = distance + (found.len - len);
        let at = found.at;
        if distance > NEAR || at.checked_sub(distance).is_none_or(|from| from < self.chunks.history) {
            return;
        }
        let longer = self.len(plain, at - distance, at, u64::MAX);
        if longer > found.len {
            *found = Found { at, from: at - distance, len: longer };
        }
    }

    pub(super) fn accept(&mut self, plain: &PlainWindow<'_>, position: u64, event: MatchEvent) {
        if event.len == 0 {
            self.scan = self.scan.max(position + u64::from(event.literals));
            return;
        }
        let (len, next) = (u64::from(event.len), self.next);
        let end = position + u64::from(event.literals) + len;
        // What lies after the chunk is not searched; without the limit the position of another encoder's stream would
        // grow with each match, by a part of its distance.
        let at = if next >= end { (next + 1).min(self.chunks.end.max(end)) } else { end };
        (self.scan, self.repeat) = (at, u64::from(event.distance));
        let is_last = at >= self.chunks.end.saturating_sub(MARGIN);
        match (self.has_six, is_last) {
            (true, true) => self.index_rest(plain),
            (true, false) => self.index_six(plain, at),
            (false, true) => {}
            (false, false) => self.index_five(plain, at, len),
        }
    }

    fn index_rest(&mut self, plain: &PlainWindow<'_>) {
        let mut position = self.next + 1;
        while position + 8 < self.chunks.end {
            let bytes = plain.eight(plain.at(position));
            self.put_short(bytes as u32, position);
            self.put_long(bytes, position);
            position += 2;
        }
    }

    fn index_six(&mut self, plain: &PlainWindow<'_>, at: u64) {
        let mut position = self.next + 1;
        while position + 1 < at {
            let bytes = plain.eight(plain.at(position));
            self.put_short(bytes as u32, position);
            self.put_long(bytes, position);
            self.put_long(bytes >> 8, position + 1);
            position += 2;
        }
    }

    fn index_five(&mut self, plain: &PlainWindow<'_>, at: u64, len: u64) {
        let mut position = (at - len.min(at)) + 1;
        if position + 1 < at {
            let bytes = plain.eight(plain.at(position));
            self.put_short(bytes as u32, position);
            self.put_long(bytes, position);
            self.put_long(bytes >> 8, position + 1);
            self.put_short((bytes >> 16) as u32, position + 2);
            position += 4;
            while position + 1 < at {
                let bytes = plain.eight(plain.at(position));
                self.put_long(bytes, position);
                self.put_short((bytes >> 8) as u32, position + 1);
                position += 3;
            }
        }
        let bytes = plain.eight(plain.at(at - 1));
        self.put_short(bytes as u32, at - 1);
        self.put_long(bytes, at - 1);
    }
}

/// The hash of 4 bytes.
pub(super) fn short_hash(four: u32) -> usize {
    (four.wrapping_mul(2_654_435_761) >> (32 - TABLE_BITS)) as usize
}

/// The hash of the first 7 bytes.
pub(super) fn long_hash(bytes: u64) -> usize {
    ((bytes << 8).wrapping_mul(58_295_818_150_454_627) >> (64 - TABLE_BITS)) as usize
}
