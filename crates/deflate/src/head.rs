//! Heads of blocks as bytes (`docs/format/blob-record.md`, section 2).

use std::io::{self, Read};

use super::{BlockHead, DynamicHead};

impl BlockHead {
    /// Appends the head: one byte with the type and `is_last`, and what describes the block.
    pub fn put(&self, is_last: bool, out: &mut Vec<u8>) {
        let last = u8::from(is_last);
        match self {
            BlockHead::Stored { padding, len } => {
                out.extend_from_slice(&[last, *padding]);
                out.extend_from_slice(&len.to_le_bytes());
            }
            BlockHead::Fixed => out.push(2 | last),
            BlockHead::Dynamic(head) => {
                out.extend_from_slice(&[4 | last, head.literals, head.distances, head.code_lengths.len() as u8]);
                out.extend_from_slice(&head.code_lengths);
                // A symbol below 16 has no extra bits; others get a byte for each of their values.
                out.extend(head.symbols.iter().map(|(symbol, extra)| match symbol {
                    16 => 16 + extra,
                    17 => 20 + extra,
                    18 => 28 + extra,
                    symbol => *symbol,
                }));
            }
        }
    }

    /// Reads a head, and whether it is that of the last block.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if there is no such head, and the errors of the input.
    pub fn take(input: &mut impl Read) -> io::Result<(Self, bool)> {
        let kind = byte(input)?;
        let head = match kind >> 1 {
            0 => {
                let [padding, low, high] = [byte(input)?, byte(input)?, byte(input)?];
                BlockHead::Stored { padding, len: u16::from_le_bytes([low, high]) }
            }
            1 => BlockHead::Fixed,
            2 => BlockHead::Dynamic(Box::new(take_dynamic(input)?)),
            _ => return Err(invalid("the type of a block is not known")),
        };
        Ok((head, kind & 1 == 1))
    }
}

fn take_dynamic(input: &mut impl Read) -> io::Result<DynamicHead> {
    let [literals, distances, count] = [byte(input)?, byte(input)?, byte(input)?];
    if literals > 31 || distances > 31 || !(4..=19).contains(&count) {
        return Err(invalid("the head of a block is malformed"));
    }
    let mut code_lengths = vec![0; usize::from(count)];
    input.read_exact(&mut code_lengths)?;
    if code_lengths.iter().any(|len| *len > 7) {
        return Err(invalid("the head of a block is malformed"));
    }
    let all = usize::from(literals) + 257 + usize::from(distances) + 1;
    let (mut seen, mut symbols) = (0, Vec::new());
    while seen < all {
        let (symbol, extra, len) = match byte(input)? {
            value @ 0..=15 => (value, 0, 1),
            value @ 16..=19 => (16, value - 16, 3 + usize::from(value - 16)),
            value @ 20..=27 => (17, value - 20, 3 + usize::from(value - 20)),
            value @ 28..=155 => (18, value - 28, 11 + usize::from(value - 28)),
            _ => return Err(invalid("a symbol of the head of a block is not known")),
        };
        seen += len;
        symbols.push((symbol, extra));
    }
    Ok(DynamicHead { literals, distances, code_lengths, symbols })
}

fn byte(input: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    input.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
