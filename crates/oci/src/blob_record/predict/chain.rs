//! Matches found by chains of positions with the same hash, as zlib and Go's compress/flate do.

use libcomposefs_deflate::{DISTANCE_MAX, MATCH_MAX};

use super::{MatchEvent, PlainWindow};

/// Largest number of literals after which a prediction ends without a match.
pub(super) const RUN_MAX: u32 = 4096;
/// Number of bytes that a prediction looks at.
pub(super) const HORIZON: u64 = RUN_MAX as u64 + 2 * MATCH_MAX as u64 + 16;
/// Number of positions that the chains have.
const WINDOW: usize = 32768;
/// Largest distance of a match of zlib.
const ZLIB_DISTANCE_MAX: u32 = DISTANCE_MAX - 262;
/// Largest distance of a match of the least length.
const FAR: u32 = 4096;

/// The function that makes a hash of the first bytes of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChainHash {
    /// zlib's, of 3 bytes.
    Zlib,
    /// Go's, of 4 bytes.
    Go,
}

/// The settings of an encoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChainSettings {
    pub(super) hash: ChainHash,
    /// A match may give way to a longer one at the next byte.
    pub(super) is_lazy: bool,
    /// From this length of the last match on, a quarter of the chain is looked at.
    pub(super) good: u32,
    /// A match as long as this gives way to no other; without lazy matches, the longest match whose bytes get into the
    /// chains.
    pub(super) lazy: u32,
    /// A match as long as this ends the search.
    pub(super) nice: u32,
    /// Number of positions that are looked at.
    pub(super) chain: u32,
}

/// Finds matches by chains.
#[derive(Debug)]
pub(in super::super) struct ChainMatcher {
    settings: ChainSettings,
    segment: u64,
    /// Number of the present segment.
    current: u64,
    /// For each hash the last position, plus 1, as far as it fits into 32 bits. A wrong position costs a correction.
    head: Vec<u32>,
    /// For each position the distance to the one before it with the same hash; 0 if the window has no such position.
    prev: Box<[u16; WINDOW]>,
    /// The first position that is not in the chains.
    inserted: u64,
    /// Number of positions that were compared.
    pub(super) work: u64,
}

impl ChainMatcher {
    pub(super) fn new(settings: ChainSettings, segment: u32) -> Self {
        let size = match settings.hash {
            ChainHash::Zlib => 1 << 15,
            ChainHash::Go => 1 << 17,
        };
        let (segment, head, prev) = (u64::from(segment), vec![0; size], Box::new([0; WINDOW]));
        Self { settings, segment, current: 0, head, prev, inserted: 0, work: 0 }
    }

    fn len_min(&self) -> u32 {
        if self.settings.hash == ChainHash::Go { 4 } else { 3 }
    }

    /// Returns the end of the segment, which no match crosses.
    fn end(&self, plain: &PlainWindow<'_>, position: u64) -> u64 {
        match self.segment {
            0 => plain.end,
            segment => (position - position % segment).saturating_add(segment).min(plain.end),
        }
    }

    fn hash(&self, plain: &PlainWindow<'_>, position: u64) -> usize {
        let bytes = plain.four(plain.at(position));
        match self.settings.hash {
            ChainHash::Zlib => {
                let [first, second, third, _] = bytes.to_le_bytes().map(usize::from);
                (first << 10 ^ second << 5 ^ third) & 0x7fff
            }
            ChainHash::Go => (bytes.swap_bytes().wrapping_mul(0x1e35_a7bd) >> 15) as usize,
        }
    }

    /// Puts a position into its chain, and returns the one before it.
    fn insert(&mut self, plain: &PlainWindow<'_>, position: u64) -> u32 {
        let hash = self.hash(plain, position);
        let (earlier, next) = (self.head[hash], (position as u32).wrapping_add(1));
        let distance = if earlier == 0 { 0 } else { next.wrapping_sub(earlier) };
        self.prev[position as usize % WINDOW] = u16::try_from(distance).unwrap_or(0);
        self.head[hash] = next;
        earlier
    }

    /// Returns the head of the chain at a position, which is inserted if it was not.
    fn candidate(&mut self, plain: &PlainWindow<'_>, position: u64) -> u32 {
        if position >= self.inserted {
            self.inserted = position + 1;
            self.insert(plain, position)
        } else {
            match self.prev[position as usize % WINDOW] {
                0 => 0,
                distance => (position as u32).wrapping_add(1).wrapping_sub(distance.into()),
            }
        }
    }

    /// Finds the longest match at a position, longer than `best`.
    fn longest(&mut self, plain: &PlainWindow<'_>, position: u64, head: u32, mut best: u32, end: u64) -> (u32, u32) {
        let ChainSettings { hash, good, nice, chain, .. } = self.settings;
        let is_go = hash == ChainHash::Go;
        let max = (end - position).min(u64::from(MATCH_MAX)) as u32;
        let place = position as u32;
        let mut distance = place.wrapping_add(1).wrapping_sub(head);
        self.work += 1;
        if head == 0 || distance == 0 || best >= max {
            return (best, 0);
        }
        let nice = nice.min(max);
        let mut tries = if !is_go && best >= good { chain >> 2 } else { chain };
        let at = plain.at(position);
        let bytes = plain.bytes.get(..at + max as usize).unwrap_or(plain.bytes);
        // zlib never finds the first byte of all, whose position stands for the end of a chain.
        let before = if is_go { position } else { position.saturating_sub(1) };
        let before = before.min(at as u64).min(u64::from(DISTANCE_MAX)) as u32;
        let mut distance_max = before.min(if is_go { DISTANCE_MAX } else { ZLIB_DISTANCE_MAX });
        let mut found = 0;
        // A longer match has these bytes at its end.
        let mut last_two = two(bytes, at, best);
        while tries > 0 && distance <= distance_max {
            tries -= 1;
            let from = at - distance as usize;
            if two(bytes, from, best) == last_two {
                let len = plain.match_len(from, at, max as usize) as u32;
                self.work += u64::from(len / 8);
                if len > best && (!is_go || len > 4 || distance <= FAR) {
                    (best, found) = (len, distance);
                    if len >= nice {
                        break;
                    }
                    last_two = two(bytes, at, best);
                }
            }
            let more = self.prev[place.wrapping_sub(distance) as usize % WINDOW];
            if more == 0 {
                break;
            }
            self.work += 1;
            distance += u32::from(more);
            if !is_go {
                // Only the first position of a chain may be as far as that.
                distance_max = distance_max.min(ZLIB_DISTANCE_MAX - 1);
            }
        }
        (best, found)
    }

    /// Begins a segment as pigz does: by empty chains, and all positions of the window before.
    fn begin_segment(&mut self, plain: &PlainWindow<'_>, position: u64) {
        self.current = position.checked_div(self.segment).unwrap_or(0);
        self.head.fill(0);
        let end = plain.base + plain.bytes.len() as u64;
        for position in position.saturating_sub(WINDOW as u64)..position {
            if position + u64::from(self.len_min()) <= end {
                self.insert(plain, position);
            }
        }
        self.inserted = position;
    }

    pub(super) fn predict(&mut self, plain: &PlainWindow<'_>, position: u64) -> MatchEvent {
        if position.checked_div(self.segment).is_some_and(|segment| segment != self.current) {
            self.begin_segment(plain, position);
        }
        let end = self.end(plain, position);
        let none = self.len_min() - 1;
        let (mut last_len, mut last_distance) = (none, 0);
        let mut at = position;
        while at < end {
            let left = end - at;
            let head = if left > u64::from(none) { self.candidate(plain, at) } else { 0 };
            let (mut len, mut distance) = (none, 0);
            if !self.settings.is_lazy {
                (len, distance) = self.longest(plain, at, head, none, end);
                if distance > 0 {
                    return MatchEvent { literals: (at - position) as u32, len, distance };
                }
            } else if last_len < self.settings.lazy && left > u64::from(last_len) {
                let least = if self.settings.hash == ChainHash::Go { none } else { last_len };
                (len, distance) = self.longest(plain, at, head, least, end);
                if distance == 0 || (len == 3 && distance > FAR) {
                    (len, distance) = (none, 0);
                }
            }
            if last_distance > 0 && len <= last_len {
                return MatchEvent { literals: (at - 1 - position) as u32, len: last_len, distance: last_distance };
            }
            (last_len, last_distance) = (len, distance);
            at += 1;
            if distance == 0 && at - position >= u64::from(RUN_MAX) {
                break;
            }
        }
        if last_distance > 0 {
            return MatchEvent { literals: (at - 1 - position) as u32, len: last_len, distance: last_distance };
        }
        MatchEvent { literals: (at - position) as u32, len: 0, distance: 0 }
    }

    pub(super) fn accept(&mut self, plain: &PlainWindow<'_>, position: u64, event: MatchEvent) {
        let start = position + u64::from(event.literals);
        let next = start + u64::from(event.len);
        let is_skipped = !self.settings.is_lazy && event.len > self.settings.lazy;
        let end = self.end(plain, position).saturating_sub(u64::from(self.len_min()) - 1);
        let until = if is_skipped { start + 1 } else { next };
        for position in self.inserted..until.min(end) {
            self.insert(plain, position);
        }
        self.inserted = self.inserted.max(next);
    }
}

/// Returns the two bytes at the end of a match that is longer than `len` by one.
fn two(bytes: &[u8], from: usize, len: u32) -> u16 {
    let at = (from as u32 + len - 1) as usize;
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_le_bytes)
}
