//! One hash table with the last two positions of each hash: level 3 of klauspost.

use super::super::PlainWindow;
use super::super::chunks::{DISTANCE_MAX, entry};
use super::{FastSearch, FastState, MARGIN, five_hash};

const BITS: u32 = 16;
/// The largest distance of the last position.
const NEAR: u64 = DISTANCE_MAX - 4;

/// The table, by 5 bytes.
#[derive(Debug)]
pub(super) struct PairTable(Vec<[u32; 2]>);

impl PairTable {
    pub(super) fn new() -> Self {
        Self(vec![[0; 2]; 1 << BITS])
    }

    /// Puts a position into the table. Returns those before it.
    fn put(&mut self, bytes: u64, position: u64) -> [u32; 2] {
        let pair = &mut self.0[five_hash(bytes, BITS)];
        std::mem::replace(pair, [entry(position), pair[0]])
    }

    /// Puts a position into the table. Returns one before it with the same first 4 bytes, if it is found.
    fn replace(&mut self, plain: &PlainWindow<'_>, state: &FastState, at: u64) -> Option<u64> {
        let bytes = plain.eight(plain.at(at));
        let [first, second] = self.put(bytes, at);
        let place = (at, bytes as u32);
        state.chunks.position(first, at, NEAR)?;
        let Some(from) = state.chunks.same_four(plain, first, place, NEAR) else {
            return state.chunks.same_four(plain, second, place, NEAR - 1);
        };
        let Some(other) = state.chunks.same_four(plain, second, place, NEAR) else { return Some(from) };
        let len = |from| state.chunks.len(plain, from, at, u64::MAX);
        Some(if len(other) > len(from) { other } else { from })
    }

    /// Looks at the end of a match.
    fn after_match(&mut self, plain: &PlainWindow<'_>, state: &FastState, len: u64) -> Option<u64> {
        let at = state.scan;
        let mut position = at.saturating_sub(len) + 2;
        while position + 5 < at {
            self.put(plain.eight(plain.at(position)), position);
            position += 6;
        }
        for position in [at.saturating_sub(2), at.saturating_sub(1)] {
            self.put(plain.eight(plain.at(position)), position);
        }
        let bytes = plain.eight(plain.at(at));
        let [first, second] = self.put(bytes, at);
        let place = (at, bytes as u32);
        state.chunks.position(first, at, NEAR - 1)?;
        let from = state.chunks.same_four(plain, first, place, NEAR - 1);
        from.or_else(|| state.chunks.same_four(plain, second, place, NEAR - 1))
    }
}

impl FastSearch for PairTable {
    fn find(&mut self, plain: &PlainWindow<'_>, state: &mut FastState, position: u64) -> Option<(u64, u64)> {
        let limit = state.chunks.end.checked_sub(MARGIN)?;
        let mut at = state.scan;
        if let Some(last) = state.after.take() {
            if at >= limit {
                let from = last.end.saturating_sub(last.distance);
                if from > state.chunks.history && from + 8 < state.chunks.end {
                    self.put(plain.eight(plain.at(from)), from);
                }
                return None;
            }
            if let Some(from) = self.after_match(plain, state, last.len) {
                return Some((at, from));
            }
            at += 1;
        }
        loop {
            state.next = at + 1 + (at.saturating_sub(position) >> 7);
            if state.next > limit {
                return None;
            }
            if let Some(from) = self.replace(plain, state, at) {
                return Some((at, from));
            }
            at = state.next;
        }
    }

    fn clear(&mut self) {
        self.0.fill([0; 2]);
    }
}
