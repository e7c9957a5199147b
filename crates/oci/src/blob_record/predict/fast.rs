//! Matches that the first levels find: level 1 of Go's compress/flate, levels 1 to 4 of klauspost/compress.
//!
//! Each takes the first match that it finds, and skips bytes where it finds none. They differ in their tables.

mod level_four;
mod level_three;
mod one_table;

use std::fmt::Debug;

use super::chunks::EncoderChunks;
use super::encoder::FastLevel;
use super::{MatchEvent, PlainWindow};

/// The longest match of Go. klauspost divides longer ones into several.
const GO_MATCH_MAX: u64 = 258;
/// Number of bytes at the end of a chunk where klauspost begins no match.
const MARGIN: u64 = 11;

/// Finds matches as a fast level does.
#[derive(Debug)]
pub(in super::super) struct FastMatcher {
    is_go: bool,
    state: FastState,
    search: Box<dyn FastSearch>,
}

/// The state that all levels have.
#[derive(Debug)]
struct FastState {
    chunks: EncoderChunks,
    /// The next position to be looked at.
    scan: u64,
    /// The next position that the last search would have looked at.
    next: u64,
    /// The event before, if it was a match whose end was not looked at.
    after: Option<LastMatch>,
}

/// The last match.
#[derive(Clone, Copy, Debug)]
struct LastMatch {
    len: u64,
    distance: u64,
    end: u64,
}

/// The tables of a level, and the way it looks into them.
trait FastSearch: Debug + Send {
    /// Returns the position of the next match, and that of the bytes it repeats. `position` is that of the first byte
    /// that was not written.
    fn find(&mut self, plain: &PlainWindow<'_>, state: &mut FastState, position: u64) -> Option<(u64, u64)>;

    /// Empties the tables.
    fn clear(&mut self);
}

impl FastMatcher {
    pub(super) fn new(level: FastLevel, segment: u32) -> Self {
        let search: Box<dyn FastSearch> = match level {
            FastLevel::Go => Box::new(one_table::GoTable::new()),
            FastLevel::One => Box::new(one_table::FiveByteTable::level_one()),
            FastLevel::Two => Box::new(one_table::FiveByteTable::level_two()),
            FastLevel::Three => Box::new(level_three::PairTable::new()),
            FastLevel::Four => Box::new(level_four::ShortAndLongTables::new()),
        };
        let state = FastState { chunks: EncoderChunks::new(segment), scan: 0, next: 0, after: None };
        Self { is_go: level == FastLevel::Go, state, search }
    }

    pub(super) fn chunks(&self) -> &EncoderChunks {
        &self.state.chunks
    }

    pub(super) fn begin_chunk(&mut self, plain: &PlainWindow<'_>, position: u64) -> Option<u64> {
        let chunks = &mut self.state.chunks;
        if position < chunks.end {
            return None;
        }
        if chunks.is_new_segment(position) {
            self.search.clear();
            let start = chunks.begin_dictionary(position);
            self.state.restart(start);
            self.run(plain, start);
        }
        let chunks = &mut self.state.chunks;
        chunks.begin(position, chunks.end_of_chunk(position).min(plain.end));
        self.state.restart(position);
        Some(self.state.chunks.end)
    }

    /// Runs to the end of the chunk.
    pub(super) fn run(&mut self, plain: &PlainWindow<'_>, mut position: u64) {
        while position < self.state.chunks.end {
            let event = self.predict(plain, position);
            self.accept(position, event);
            position += u64::from(event.literals) + u64::from(event.len);
        }
    }

    pub(super) fn predict(&mut self, plain: &PlainWindow<'_>, position: u64) -> MatchEvent {
        let end = self.state.chunks.end;
        let none = MatchEvent { literals: (end - position) as u32, len: 0, distance: 0 };
        let found = self.search.find(plain, &mut self.state, position);
        let Some((at, from)) = found.filter(|(at, _)| *at >= position) else { return none };
        let chunks = &self.state.chunks;
        let len = chunks.len(plain, from, at, if self.is_go { GO_MATCH_MAX } else { u64::MAX });
        let more = if self.is_go { 0 } else { chunks.bytes_before(plain, from, at, position) };
        MatchEvent { literals: (at - more - position) as u32, len: (len + more) as u32, distance: (at - from) as u32 }
    }

    pub(super) fn accept(&mut self, position: u64, event: MatchEvent) {
        let state = &mut self.state;
        let (len, distance) = (u64::from(event.len), u64::from(event.distance));
        let end = position + u64::from(event.literals) + len;
        if len == 0 {
            (state.after, state.scan) = (None, state.scan.max(end));
            return;
        }
        state.after = Some(LastMatch { len, distance, end });
        // What lies after the chunk is not searched.
        let is_jump = !self.is_go && state.next >= end;
        state.scan = if is_jump { (state.next + 1).min(state.chunks.end.max(end)) } else { end };
    }
}

impl FastState {
    fn restart(&mut self, position: u64) {
        (self.scan, self.next, self.after) = (position, position, None);
    }
}

/// klauspost's hash of the first 5 bytes.
fn five_hash(bytes: u64, bits: u32) -> usize {
    ((bytes << 24).wrapping_mul(889_523_592_379) >> (64 - bits)) as usize
}
