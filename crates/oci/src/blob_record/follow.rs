//! Comparing the tokens of a stream with what an encoder was predicted to write.

use libcomposefs_deflate::{DeflateToken, MATCH_MAX};

use super::predict::{MatchEvent, PlainWindow, TokenPredictor};

/// Receives the result of each comparison.
pub(super) trait DifferenceSink {
    /// The prediction was right.
    fn right(&mut self);
    /// A chunk consists of literals.
    fn literal_chunk(&mut self);
    /// Something else was written.
    fn other(&mut self, event: MatchEvent);
    /// Returns true if the rest is of no interest.
    fn is_full(&self) -> bool {
        false
    }
}

/// Counts the bytes that the differences take, roughly.
#[derive(Debug)]
pub(super) struct DifferenceCost {
    pub(super) cost: u64,
    pub(super) max: u64,
}

impl DifferenceSink for DifferenceCost {
    fn right(&mut self) {}

    fn literal_chunk(&mut self) {
        self.cost += 2;
    }

    fn other(&mut self, _: MatchEvent) {
        self.cost += 4;
    }

    fn is_full(&self) -> bool {
        self.cost >= self.max
    }
}

/// Divides a match into lengths that tokens can have: no rest is shorter than 3 bytes.
pub(super) fn token_len(left: u32) -> u32 {
    if left <= MATCH_MAX {
        left
    } else if left > MATCH_MAX + 3 {
        MATCH_MAX
    } else {
        MATCH_MAX - 3
    }
}

/// The tokens that were read, from a position on.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokensAhead<'t> {
    pub(super) tokens: &'t [DeflateToken],
    pub(super) position: u64,
    /// Position after the last token.
    pub(super) end: u64,
    /// Set if the stream ends there.
    pub(super) is_whole: bool,
}

/// Follows the tokens up to a position, as far as predictions can look ahead. Returns the number of tokens and the new
/// position.
pub(super) fn follow(
    predictor: &mut TokenPredictor,
    plain: &PlainWindow<'_>,
    ahead: &TokensAhead<'_>,
    until: u64,
    sink: &mut impl DifferenceSink,
) -> (usize, u64) {
    let (mut at, mut position) = (0, ahead.position);
    while position < until.min(ahead.end) && !sink.is_full() {
        if !ahead.is_whole && predictor.horizon(position) > ahead.end {
            break;
        }
        let tokens = &ahead.tokens[at..];
        if let Some(end) = predictor.begin_chunk(plain, position) {
            let len = (end - position) as usize;
            let is_literal = |token: &DeflateToken| matches!(token, DeflateToken::Literal(_));
            if tokens.get(..len).is_some_and(|tokens| tokens.iter().all(is_literal)) {
                sink.literal_chunk();
                predictor.pass_chunk(plain, position);
                (at, position) = (at + len, end);
                continue;
            }
            sink.right();
        }
        let run_max = predictor.run_max(plain, position);
        let mut event = predictor.predict(plain, position);
        let count = match count_tokens(event, tokens) {
            Some(count) => {
                sink.right();
                count
            }
            None => {
                let count;
                (event, count) = next_event(tokens, run_max);
                sink.other(event);
                count
            }
        };
        predictor.accept(plain, position, event);
        at += count;
        position += u64::from(event.literals) + u64::from(event.len);
    }
    (at, position)
}

/// Returns the number of tokens of an event. `None` if the tokens are others.
fn count_tokens(event: MatchEvent, tokens: &[DeflateToken]) -> Option<usize> {
    let literals = event.literals as usize;
    let is_literal = |token: &DeflateToken| matches!(token, DeflateToken::Literal(_));
    if !tokens.get(..literals)?.iter().all(is_literal) {
        return None;
    }
    let (mut left, mut count) = (event.len, literals);
    while left > 0 {
        let len = token_len(left);
        if *tokens.get(count)? != DeflateToken::new_match(len, event.distance) {
            return None;
        }
        left -= len;
        count += 1;
    }
    Some(count)
}

/// Returns the event that the tokens begin with, and their number.
fn next_event(tokens: &[DeflateToken], run_max: u32) -> (MatchEvent, usize) {
    let is_literal = |token: &&DeflateToken| matches!(token, DeflateToken::Literal(_));
    let literals = tokens.iter().take(run_max as usize).take_while(is_literal).count();
    match tokens.get(literals) {
        Some(token @ DeflateToken::Match(..)) => {
            let event = MatchEvent { literals: literals as u32, len: token.byte_count(), distance: token.distance() };
            (event, literals + 1)
        }
        _ => (MatchEvent { literals: literals as u32, len: 0, distance: 0 }, literals),
    }
}
