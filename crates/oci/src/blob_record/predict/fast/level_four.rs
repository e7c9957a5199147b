//! A hash table by 4 bytes and one by 7 bytes: level 4 of klauspost.

use super::super::PlainWindow;
use super::super::chunks::{DISTANCE_MAX, entry};
use super::super::klauspost::{TABLE_BITS, long_hash, short_hash};
use super::{FastSearch, FastState, MARGIN};

/// Distances are at most this.
const NEAR: u64 = DISTANCE_MAX - 1;

#[derive(Debug)]
pub(super) struct ShortAndLongTables {
    short: Vec<u32>,
    long: Vec<u32>,
}

impl ShortAndLongTables {
    pub(super) fn new() -> Self {
        Self { short: vec![0; 1 << TABLE_BITS], long: vec![0; 1 << TABLE_BITS] }
    }

    fn put_short(&mut self, bytes: u64, position: u64) -> u32 {
        std::mem::replace(&mut self.short[short_hash(bytes as u32)], entry(position))
    }

    fn put_long(&mut self, bytes: u64, position: u64) -> u32 {
        std::mem::replace(&mut self.long[long_hash(bytes)], entry(position))
    }

    fn after_match(&mut self, plain: &PlainWindow<'_>, state: &FastState) {
        let at = state.scan;
        let mut position = state.next;
        while position + 1 < at {
            let bytes = plain.eight(plain.at(position));
            self.put_long(bytes, position);
            self.put_long(bytes >> 8, position + 1);
            self.put_short(bytes >> 8, position + 1);
            position += 3;
        }
        let before = at.saturating_sub(1);
        let bytes = plain.eight(plain.at(before));
        self.put_short(bytes, before);
        self.put_long(bytes, before);
    }
}

impl FastSearch for ShortAndLongTables {
    fn find(&mut self, plain: &PlainWindow<'_>, state: &mut FastState, position: u64) -> Option<(u64, u64)> {
        let limit = state.chunks.end.checked_sub(MARGIN)?;
        let mut at = state.scan;
        if state.after.take().is_some() {
            if at >= limit {
                if at + 8 < state.chunks.end {
                    let bytes = plain.eight(plain.at(at));
                    self.put_short(bytes, at);
                    self.put_long(bytes, at);
                }
                return None;
            }
            self.after_match(plain, state);
        }
        loop {
            let next = at + 1 + (at.saturating_sub(position) >> 6);
            state.next = next;
            if next > limit {
                return None;
            }
            let bytes = plain.eight(plain.at(at));
            let (short, long) = (self.put_short(bytes, at), self.put_long(bytes, at));
            let place = (at, bytes as u32);
            if let Some(from) = state.chunks.same_four(plain, long, place, NEAR) {
                return Some((at, from));
            }
            if let Some(from) = state.chunks.same_four(plain, short, place, NEAR) {
                let bytes = plain.eight(plain.at(next));
                let long = self.long[long_hash(bytes)];
                let other = state.chunks.same_four(plain, long, (next, bytes as u32), NEAR);
                let len = |from, at| state.chunks.len(plain, from, at, u64::MAX);
                let is_longer = |other: &u64| len(*other, next) > len(from, at);
                return Some(other.filter(is_longer).map_or((at, from), |other| (next, other)));
            }
            at = next;
        }
    }

    fn clear(&mut self) {
        self.short.fill(0);
        self.long.fill(0);
    }
}
