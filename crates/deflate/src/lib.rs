//! DEFLATE (RFC 1951) as tokens: reading a stream into them, and writing them as the same bits.
#![forbid(unsafe_code)]

mod bits;
mod byte_source;
mod head;
mod huffman;
mod parser;
mod writer;

pub use byte_source::ByteSource;
pub use parser::{DeflateSink, parse_deflate};
pub use writer::DeflateWriter;

/// Longest match of a token.
pub const MATCH_MAX: u32 = 258;
/// Largest distance of a match.
pub const DISTANCE_MAX: u32 = 32768;

/// A literal, or a copy of earlier bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeflateToken {
    /// One byte.
    Literal(u8),
    /// A length of 3 to 258 bytes and a distance of 1 to 32768 bytes.
    Match(u16, u16),
}

impl DeflateToken {
    /// Makes a match.
    pub fn new_match(len: u32, distance: u32) -> Self {
        // A distance of 32768 is stored as 0.
        Self::Match(len as u16, distance as u16)
    }

    /// Returns the number of bytes.
    pub fn byte_count(self) -> u32 {
        match self {
            Self::Literal(_) => 1,
            Self::Match(len, _) => u32::from(len),
        }
    }

    /// Returns the distance, 0 for a literal.
    pub fn distance(self) -> u32 {
        match self {
            Self::Literal(_) => 0,
            Self::Match(_, 0) => DISTANCE_MAX,
            Self::Match(_, distance) => u32::from(distance),
        }
    }
}

/// The head of a block, without its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockHead {
    /// Plain bytes: the bits before the next whole byte, and the length.
    Stored {
        /// The padding, usually 0.
        padding: u8,
        /// The number of bytes.
        len: u16,
    },
    /// The fixed codes.
    Fixed,
    /// Codes of its own.
    Dynamic(Box<DynamicHead>),
}

/// The description of the codes of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DynamicHead {
    /// Number of literal and length codes, less 257.
    pub literals: u8,
    /// Number of distance codes, less 1.
    pub distances: u8,
    /// Lengths of the codes of lengths, in their order in the stream; 4 to 19.
    pub code_lengths: Vec<u8>,
    /// The symbols of lengths, each with its extra bits.
    pub symbols: Vec<(u8, u8)>,
}

/// Order of the lengths of the codes of lengths.
const CODE_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// The smallest length of each length code from 257 on.
const LENGTH_BASE: [u16; 29] =
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
/// Number of extra bits of each length code.
const LENGTH_EXTRA: [u8; 29] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
/// The smallest distance of each distance code.
const DISTANCE_BASE: [u16; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
    8193, 12289, 16385, 24577,
];
/// Number of extra bits of each distance code.
const DISTANCE_EXTRA: [u8; 30] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];

/// Returns the number of extra bits of a symbol of lengths.
fn symbol_extra(symbol: u8) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

/// Returns the lengths of the literal codes and of the distance codes that symbols describe. `None` if they describe
/// more or fewer lengths than the head says.
fn code_lengths(head: &DynamicHead) -> Option<(Vec<u8>, Vec<u8>)> {
    let literals = usize::from(head.literals) + 257;
    let all = literals + usize::from(head.distances) + 1;
    let mut lengths: Vec<u8> = Vec::with_capacity(all);
    for (symbol, extra) in &head.symbols {
        let (value, count) = match symbol {
            0..=15 => (*symbol, 1),
            16 => (*lengths.last()?, 3 + usize::from(*extra)),
            17 => (0, 3 + usize::from(*extra)),
            18 => (0, 11 + usize::from(*extra)),
            _ => return None,
        };
        if lengths.len() + count > all {
            return None;
        }
        lengths.extend(std::iter::repeat_n(value, count));
    }
    if lengths.len() != all {
        return None;
    }
    let distances = lengths.split_off(literals);
    Some((lengths, distances))
}

/// Returns the lengths of the fixed codes.
fn fixed_lengths() -> (Vec<u8>, Vec<u8>) {
    let literals = (0..288).map(|symbol| match symbol {
        144..=255 => 9,
        256..=279 => 7,
        _ => 8,
    });
    (literals.collect(), vec![5; 32])
}
