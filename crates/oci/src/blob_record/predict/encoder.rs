//! The encoders that can be imitated, and their settings.

use super::chain::{ChainHash, ChainSettings};

/// Number of settings of chains.
const CHAINS: u8 = 17;
/// Number of encoders.
const ENCODERS: u8 = 24;

/// What is imitated, with its settings.
#[derive(Clone, Copy, Debug)]
pub(super) enum EncoderKind {
    Chain(ChainSettings),
    /// klauspost of level 5, or of level 6.
    Klauspost {
        has_six: bool,
    },
    Fast(FastLevel),
}

/// A level that takes the first match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FastLevel {
    /// Level 1 of Go.
    Go,
    /// Level 1 of klauspost.
    One,
    /// Level 2 of klauspost.
    Two,
    /// Level 3 of klauspost.
    Three,
    /// Level 4 of klauspost.
    Four,
}

/// An encoder and its settings, as a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct EncoderGuess {
    /// 1 to 9: zlib and gzip of this level; 10 to 17: Go of the levels 2 to 9; 18 and 19: klauspost of the levels 5
    /// and 6; 20: Go of level 1; 21 to 24: klauspost of the levels 1 to 4.
    pub(in super::super) number: u8,
    /// Size of the segments that the encoder compresses each by itself, in bytes; 0 for none.
    pub(in super::super) segment: u32,
}

impl Default for EncoderGuess {
    fn default() -> Self {
        Self { number: 6, segment: 0 }
    }
}

impl EncoderGuess {
    /// Returns all encoders, without segments, the most usual ones first.
    pub(in super::super) fn all() -> impl Iterator<Item = Self> {
        let numbers =
            [6, 18, 14, 9].into_iter().chain((1..=ENCODERS).filter(|number| ![6, 18, 14, 9].contains(number)));
        numbers.map(|number| Self { number, segment: 0 })
    }

    /// Reads the number of an encoder. `None` if there is no such encoder.
    pub(in super::super) fn new(number: u64, segment: u64) -> Option<Self> {
        let segment = u32::try_from(segment).ok().filter(|segment| *segment == 0 || *segment >= 4096)?;
        let number = u8::try_from(number).ok().filter(|number| (1..=ENCODERS).contains(number))?;
        Some(Self { number, segment })
    }

    /// Returns what is imitated.
    pub(super) fn kind(self) -> EncoderKind {
        match self.number {
            20 => EncoderKind::Fast(FastLevel::Go),
            21 => EncoderKind::Fast(FastLevel::One),
            22 => EncoderKind::Fast(FastLevel::Two),
            23 => EncoderKind::Fast(FastLevel::Three),
            24 => EncoderKind::Fast(FastLevel::Four),
            number if number > CHAINS => EncoderKind::Klauspost { has_six: number > CHAINS + 1 },
            number => EncoderKind::Chain(chain(number)),
        }
    }
}

/// Returns the settings of the chains of an encoder.
fn chain(number: u8) -> ChainSettings {
    let (level, is_go) = if number <= 9 { (number, false) } else { (number - 8, true) };
    // Good, lazy or insert, nice, chain (zlib's configuration_table, and `levels` of Go).
    let (good, lazy, nice, chain) = match (level, is_go) {
        (1, _) => (4, 4, 8, 4),
        (2, false) => (4, 5, 16, 8),
        (3, false) => (4, 6, 32, 32),
        (2, true) => (4, 5, 16, 8),
        (3, true) => (4, 6, 32, 32),
        (4, _) => (4, 4, 16, 16),
        (5, _) => (8, 16, 32, 32),
        (6, _) => (8, 16, 128, 128),
        (7, _) => (8, 32, 128, 256),
        (8, _) => (32, 128, 258, 1024),
        _ => (32, 258, 258, 4096),
    };
    let hash = if is_go { ChainHash::Go } else { ChainHash::Zlib };
    ChainSettings { hash, is_lazy: level > 3, good, lazy, nice, chain }
}
