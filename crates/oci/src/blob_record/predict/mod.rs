//! Predicting the tokens of an encoder from the plain bytes, so that a record needs only the differences.
//!
//! The encoders that are imitated, and from which the rules are derived: zlib (`LICENSES/Zlib.txt`), Go's
//! compress/flate and klauspost/compress (`LICENSES/BSD-3-Clause-Go.txt`).

mod chain;
mod chunks;
mod encoder;
mod fast;
mod klauspost;
mod plain;

use chain::ChainMatcher;
use chunks::EncoderChunks;
use encoder::EncoderKind;
use fast::FastMatcher;
use klauspost::KlauspostMatcher;

pub(super) use encoder::EncoderGuess;
pub(super) use plain::PlainWindow;

/// What an encoder does next: some literals, then a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MatchEvent {
    /// Number of literals.
    pub(super) literals: u32,
    /// Length of the match, 0 for none. An encoder may divide a long one into several tokens.
    pub(super) len: u32,
    /// Distance of the match.
    pub(super) distance: u32,
}

/// Imitates an encoder.
#[derive(Debug)]
pub(super) enum TokenPredictor {
    /// Hash chains: zlib and Go's compress/gzip.
    Chain(ChainMatcher),
    /// Two hash tables: klauspost/compress.
    Klauspost(KlauspostMatcher),
    /// The first match: level 1 of Go's compress/gzip, levels 1 to 4 of klauspost/compress.
    Fast(FastMatcher),
}

impl TokenPredictor {
    /// Begins at the start of a stream.
    pub(super) fn new(guess: EncoderGuess) -> Self {
        match guess.kind() {
            EncoderKind::Chain(settings) => Self::Chain(ChainMatcher::new(settings, guess.segment)),
            EncoderKind::Klauspost { has_six } => Self::Klauspost(KlauspostMatcher::new(has_six, guess.segment)),
            EncoderKind::Fast(level) => Self::Fast(FastMatcher::new(level, guess.segment)),
        }
    }

    /// Returns the chunks in which the encoder takes its input, if it does.
    fn chunks(&self) -> Option<&EncoderChunks> {
        match self {
            Self::Chain(_) => None,
            Self::Klauspost(matcher) => Some(matcher.chunks()),
            Self::Fast(matcher) => Some(matcher.chunks()),
        }
    }

    /// Returns the end of the plain bytes that a prediction at this position looks at, if the stream is as long.
    pub(super) fn horizon(&self, position: u64) -> u64 {
        self.chunks().map_or(position + chain::HORIZON, |chunks| chunks.horizon(position))
    }

    /// Begins a chunk of the encoder, if one begins at this position. Returns its end; the encoder writes a chunk
    /// either by its matches, or as literals only.
    pub(super) fn begin_chunk(&mut self, plain: &PlainWindow<'_>, position: u64) -> Option<u64> {
        match self {
            Self::Chain(_) => None,
            Self::Klauspost(matcher) => matcher.begin_chunk(plain, position),
            Self::Fast(matcher) => matcher.begin_chunk(plain, position),
        }
    }

    /// Returns the work since the last call.
    pub(super) fn take_work(&mut self) -> u64 {
        match self {
            Self::Chain(matcher) => std::mem::take(&mut matcher.work),
            // Its work for each byte has a limit.
            Self::Klauspost(_) | Self::Fast(_) => 0,
        }
    }

    /// Runs to the end of the chunk, of which the encoder has written the bytes as literals.
    pub(super) fn pass_chunk(&mut self, plain: &PlainWindow<'_>, position: u64) {
        match self {
            Self::Chain(_) => {}
            Self::Klauspost(matcher) => matcher.run(plain, position),
            Self::Fast(matcher) => matcher.run(plain, position),
        }
    }

    /// Returns the largest number of literals of an event at this position.
    pub(super) fn run_max(&self, plain: &PlainWindow<'_>, position: u64) -> u32 {
        let left = plain.end - position;
        let max = self.chunks().map_or(u64::from(chain::RUN_MAX), |chunks| chunks.run_max(position));
        left.min(max) as u32
    }

    /// Predicts the next event.
    pub(super) fn predict(&mut self, plain: &PlainWindow<'_>, position: u64) -> MatchEvent {
        match self {
            Self::Chain(matcher) => matcher.predict(plain, position),
            Self::Klauspost(matcher) => matcher.predict(plain, position),
            Self::Fast(matcher) => matcher.predict(plain, position),
        }
    }

    /// Takes note of the event that the encoder has written.
    pub(super) fn accept(&mut self, plain: &PlainWindow<'_>, position: u64, event: MatchEvent) {
        match self {
            Self::Chain(matcher) => matcher.accept(plain, position, event),
            Self::Klauspost(matcher) => matcher.accept(plain, position, event),
            Self::Fast(matcher) => matcher.accept(position, event),
        }
    }
}
