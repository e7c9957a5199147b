//! Writing blocks and tokens as a DEFLATE stream.

use super::bits::BitWriter;
use super::huffman::codes;
use super::{
    BlockHead, CODE_ORDER, DISTANCE_BASE, DISTANCE_EXTRA, DeflateToken, LENGTH_BASE, LENGTH_EXTRA, code_lengths,
    fixed_lengths, symbol_extra,
};

/// The code of each length, beginning with 3.
const LENGTH_CODES: [u8; 256] = {
    let (mut codes, mut len, mut code) = ([0; 256], 0, 0);
    while len < codes.len() {
        while code + 1 < LENGTH_BASE.len() && LENGTH_BASE[code + 1] as usize <= len + 3 {
            code += 1;
        }
        codes[len] = code as u8;
        len += 1;
    }
    codes
};

/// Returns the code of a distance, given the distance less 1: two codes for each power of two.
fn distance_code(less: u32) -> usize {
    if less < 4 {
        return less as usize;
    }
    let log = less.ilog2();
    (2 * log + (less >> (log - 1) & 1)) as usize
}

/// The code of a symbol: its bits, and their number.
type Code = (u16, u8);

/// Writes a stream into memory, from which the caller takes it.
#[derive(Debug, Default)]
pub struct DeflateWriter {
    bits: BitWriter,
    literals: Vec<Code>,
    distances: Vec<Code>,
    is_stored: bool,
}

impl DeflateWriter {
    /// Begins a block. `None` if its codes are malformed.
    pub fn head(&mut self, head: &BlockHead, is_last: bool) -> Option<()> {
        self.bits.put(u32::from(is_last), 1);
        self.is_stored = false;
        let (literals, distances) = match head {
            BlockHead::Stored { padding, len } => {
                self.bits.put(0, 2);
                self.bits.pad(*padding);
                self.bits.put(u32::from(*len), 16);
                self.bits.put(u32::from(!*len), 16);
                self.is_stored = true;
                return Some(());
            }
            BlockHead::Fixed => {
                self.bits.put(1, 2);
                fixed_lengths()
            }
            BlockHead::Dynamic(head) => {
                self.bits.put(2, 2);
                self.bits.put(u32::from(head.literals), 5);
                self.bits.put(u32::from(head.distances), 5);
                self.bits.put(u32::try_from(head.code_lengths.len()).ok()?.checked_sub(4)?, 4);
                let mut lengths = [0; 19];
                for (place, len) in CODE_ORDER.iter().zip(&head.code_lengths) {
                    self.bits.put(u32::from(*len), 3);
                    lengths[*place] = *len;
                }
                let symbols = codes(&lengths)?;
                for (symbol, extra) in &head.symbols {
                    put(&mut self.bits, &symbols, usize::from(*symbol))?;
                    self.bits.put(u32::from(*extra), symbol_extra(*symbol));
                }
                code_lengths(head)?
            }
        };
        self.literals = codes(&literals)?;
        self.distances = codes(&distances)?;
        Some(())
    }

    /// Writes a token. `None` if the block has no code for it.
    #[inline]
    pub fn token(&mut self, token: DeflateToken) -> Option<()> {
        let (len, distance) = (token.byte_count(), token.distance());
        match token {
            DeflateToken::Literal(byte) if self.is_stored => self.bits.put(u32::from(byte), 8),
            DeflateToken::Literal(byte) => put(&mut self.bits, &self.literals, usize::from(byte))?,
            _ if self.is_stored => return None,
            DeflateToken::Match(..) => {
                let code = usize::from(*LENGTH_CODES.get(len.checked_sub(3)? as usize)?);
                put(&mut self.bits, &self.literals, code + 257)?;
                self.bits.put(len - u32::from(LENGTH_BASE[code]), u32::from(LENGTH_EXTRA[code]));
                self.distance(distance)?;
            }
        }
        Some(())
    }

    /// Writes literals. `None` if the block has no code for one of them.
    pub fn literals(&mut self, bytes: &[u8]) -> Option<()> {
        for byte in bytes {
            match self.is_stored {
                true => self.bits.put(u32::from(*byte), 8),
                false => put(&mut self.bits, &self.literals, usize::from(*byte))?,
            }
        }
        Some(())
    }

    #[inline]
    fn distance(&mut self, distance: u32) -> Option<()> {
        let code = distance_code(distance.checked_sub(1)?);
        put(&mut self.bits, &self.distances, code)?;
        let base = u32::from(*DISTANCE_BASE.get(code)?);
        self.bits.put(distance - base, u32::from(DISTANCE_EXTRA[code]));
        Some(())
    }

    /// Ends the block. `None` if it has no code for its end.
    pub fn block_end(&mut self) -> Option<()> {
        if self.is_stored { Some(()) } else { put(&mut self.bits, &self.literals, 256) }
    }

    /// Ends the stream.
    pub fn pad(&mut self, padding: u8) {
        self.bits.pad(padding);
    }

    /// Returns about how many bytes can be taken away: up to seven more.
    #[inline]
    #[must_use]
    pub fn ready_len(&self) -> usize {
        self.bits.ready_len()
    }

    /// Returns the whole bytes so far, to be taken away.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        self.bits.whole_bytes()
    }
}

#[inline]
fn put(bits: &mut BitWriter, codes: &[Code], symbol: usize) -> Option<()> {
    let (code, len) = *codes.get(symbol)?;
    if len == 0 {
        return None;
    }
    bits.put(u32::from(code), u32::from(len));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_tables() {
        for len in 3..=258 {
            let expected = LENGTH_BASE.partition_point(|base| u32::from(*base) <= len) - 1;
            assert_eq!(usize::from(LENGTH_CODES[len as usize - 3]), expected, "{len}");
        }
        for distance in 1..=crate::DISTANCE_MAX {
            let expected = DISTANCE_BASE.partition_point(|base| u32::from(*base) <= distance) - 1;
            assert_eq!(distance_code(distance - 1), expected, "{distance}");
        }
    }
}
