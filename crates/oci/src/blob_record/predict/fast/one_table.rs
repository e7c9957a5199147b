//! One hash table with the last position of each hash: level 1 of Go, levels 1 and 2 of klauspost.

use super::super::PlainWindow;
use super::super::chunks::{DISTANCE_MAX, entry};
use super::{FastSearch, FastState, MARGIN, five_hash};

/// Chunks of Go that are shorter have no matches.
const GO_CHUNK_MIN: u64 = 128;
/// Number of bytes at the end of a chunk where Go begins no match.
const GO_MARGIN: u64 = 15;

/// The table of Go, by 4 bytes.
#[derive(Debug)]
pub(super) struct GoTable(Vec<u32>);

impl GoTable {
    pub(super) fn new() -> Self {
        Self(vec![0; 1 << 14])
    }

    /// Puts a position into the table. Returns the one before it with the same first 4 bytes, if that is found.
    fn replace(&mut self, plain: &PlainWindow<'_>, state: &FastState, at: u64) -> Option<u64> {
        let four = plain.four(plain.at(at));
        let hash = (four.wrapping_mul(0x1e35_a7bd) >> 18) as usize;
        let earlier = std::mem::replace(&mut self.0[hash], entry(at));
        state.chunks.same_four(plain, earlier, (at, four), DISTANCE_MAX)
    }
}

impl FastSearch for GoTable {
    fn find(&mut self, plain: &PlainWindow<'_>, state: &mut FastState, _position: u64) -> Option<(u64, u64)> {
        let (at, end) = (state.scan, state.chunks.end);
        let limit = end.checked_sub(GO_MARGIN)?;
        if state.after.take().is_some() {
            if at >= limit {
                return None;
            }
            self.replace(plain, state, at.saturating_sub(1));
            if let Some(from) = self.replace(plain, state, at) {
                return Some((at, from));
            }
            state.scan = at + 1;
        } else if end - at < GO_CHUNK_MIN && end == plain.end {
            return None;
        }
        let mut skip = 32;
        loop {
            let at = state.scan;
            let step = skip >> 5;
            state.scan = at + step;
            skip += step;
            if state.scan > limit {
                return None;
            }
            if let Some(from) = self.replace(plain, state, at) {
                return Some((at, from));
            }
        }
    }

    fn clear(&mut self) {
        self.0.fill(0);
    }
}

/// The table of klauspost, by 5 bytes.
#[derive(Debug)]
pub(super) struct FiveByteTable {
    bits: u32,
    is_level_one: bool,
    table: Vec<u32>,
}

impl FiveByteTable {
    pub(super) fn level_one() -> Self {
        Self { bits: 15, is_level_one: true, table: vec![0; 1 << 15] }
    }

    pub(super) fn level_two() -> Self {
        Self { bits: 17, is_level_one: false, table: vec![0; 1 << 17] }
    }

    fn put(&mut self, bytes: u64, position: u64) -> u32 {
        std::mem::replace(&mut self.table[five_hash(bytes, self.bits)], entry(position))
    }

    /// Puts a position into the table. Returns the one before it with the same first 4 bytes, if that is found.
    fn replace(&mut self, plain: &PlainWindow<'_>, state: &FastState, at: u64, distance_max: u64) -> Option<u64> {
        let bytes = plain.eight(plain.at(at));
        let earlier = self.put(bytes, at);
        state.chunks.same_four(plain, earlier, (at, bytes as u32), distance_max)
    }

    /// Looks at the end of a match.
    fn after_match(&mut self, plain: &PlainWindow<'_>, state: &FastState, len: u64) -> Option<u64> {
        let at = state.scan;
        if !self.is_level_one {
            let mut position = at.saturating_sub(len) + 2;
            while position + 5 < at {
                let bytes = plain.eight(plain.at(position));
                for skipped in [0, 2, 4] {
                    self.put(bytes >> (skipped * 8), position + skipped);
                }
                position += 7;
            }
        }
        let bytes = plain.eight(plain.at(at.saturating_sub(2)));
        self.put(bytes, at.saturating_sub(2));
        if !self.is_level_one {
            self.put(bytes >> 8, at.saturating_sub(1));
        }
        self.replace(plain, state, at, DISTANCE_MAX)
    }
}

impl FastSearch for FiveByteTable {
    fn find(&mut self, plain: &PlainWindow<'_>, state: &mut FastState, position: u64) -> Option<(u64, u64)> {
        let limit = state.chunks.end.checked_sub(MARGIN)?;
        let mut at = state.scan;
        if let Some(last) = state.after.take() {
            if at >= limit {
                return None;
            }
            if let Some(from) = self.after_match(plain, state, last.len) {
                return Some((at, from));
            }
            at += 1;
        }
        loop {
            state.next = at + 2 + (at.saturating_sub(position) >> 5);
            if state.next > limit {
                return None;
            }
            if let Some(from) = self.replace(plain, state, at, DISTANCE_MAX - 1) {
                self.put(plain.eight(plain.at(state.next)), state.next);
                return Some((at, from));
            }
            at = state.next;
            state.next += 1;
            let bytes = plain.eight(plain.at(at));
            if let Some(from) = self.replace(plain, state, at, DISTANCE_MAX - 1) {
                if self.is_level_one {
                    // The encoder takes the hash of the bytes before.
                    self.put(bytes, state.next);
                }
                return Some((at, from));
            }
            at = state.next;
        }
    }

    fn clear(&mut self) {
        self.table.fill(0);
    }
}
