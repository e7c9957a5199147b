//! Writing blocks and tokens as a DEFLATE stream.

use super::bits::BitWriter;
use super::huffman::codes;
use super::{
    BlockHead, CODE_ORDER, DISTANCE_BASE, DISTANCE_EXTRA, DeflateToken, LENGTH_BASE, LENGTH_EXTRA, code_lengths,
    fixed_lengths, symbol_extra,
};

/// The code of a symbol: its bits, and their number.
type Code = (u16, u8);

/// Writes a stream into memory, from which the caller takes it.
#[derive(Debug, Default)]
pub(in super::super) struct DeflateWriter {
    bits: BitWriter,
    literals: Vec<Code>,
    distances: Vec<Code>,
    is_stored: bool,
}

impl DeflateWriter {
    /// Begins a block. `None` if its codes are malformed.
    pub(in super::super) fn head(&mut self, head: &BlockHead, is_last: bool) -> Option<()> {
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
    pub(in super::super) fn token(&mut self, token: DeflateToken) -> Option<()> {
        let (len, distance) = (token.len(), token.distance());
        match token {
            DeflateToken::Literal(byte) if self.is_stored => self.bits.put(u32::from(byte), 8),
            DeflateToken::Literal(byte) => put(&mut self.bits, &self.literals, usize::from(byte))?,
            _ if self.is_stored => return None,
            DeflateToken::Match(..) => {
                let code = LENGTH_BASE.partition_point(|base| u32::from(*base) <= len).checked_sub(1)?;
                put(&mut self.bits, &self.literals, code + 257)?;
                self.bits.put(len - u32::from(LENGTH_BASE[code]), u32::from(LENGTH_EXTRA[code]));
                self.distance(distance)?;
            }
        }
        Some(())
    }

    fn distance(&mut self, distance: u32) -> Option<()> {
        let code = DISTANCE_BASE.partition_point(|base| u32::from(*base) <= distance).checked_sub(1)?;
        put(&mut self.bits, &self.distances, code)?;
        self.bits.put(distance - u32::from(DISTANCE_BASE[code]), u32::from(DISTANCE_EXTRA[code]));
        Some(())
    }

    /// Ends the block. `None` if it has no code for its end.
    pub(in super::super) fn block_end(&mut self) -> Option<()> {
        if self.is_stored { Some(()) } else { put(&mut self.bits, &self.literals, 256) }
    }

    /// Ends the stream.
    pub(in super::super) fn pad(&mut self, padding: u8) {
        self.bits.pad(padding);
    }

    /// Returns the whole bytes so far, to be taken away.
    pub(in super::super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bits.bytes
    }
}

fn put(bits: &mut BitWriter, codes: &[Code], symbol: usize) -> Option<()> {
    let (code, len) = *codes.get(symbol)?;
    if len == 0 {
        return None;
    }
    bits.put(u32::from(code), u32::from(len));
    Some(())
}
