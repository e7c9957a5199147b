//! Reading a DEFLATE stream into blocks and tokens.

use std::io::{self, Read};

use super::bits::BitReader;
use super::huffman::HuffmanTable;
use super::{
    BlockHead, CODE_ORDER, DISTANCE_BASE, DISTANCE_EXTRA, DeflateToken, DynamicHead, LENGTH_BASE, LENGTH_EXTRA,
    code_lengths, fixed_lengths, symbol_extra,
};
use crate::byte_source::ByteSource;

/// Receives the parts of a stream. An error ends the reading.
pub trait DeflateSink {
    /// A block begins.
    ///
    /// # Errors
    ///
    /// The sink's own.
    fn head(&mut self, head: &BlockHead, is_last: bool) -> io::Result<()>;
    /// The next token of the block, also for a byte of a stored block.
    ///
    /// # Errors
    ///
    /// The sink's own.
    fn token(&mut self, token: DeflateToken) -> io::Result<()>;
    /// The block ends.
    ///
    /// # Errors
    ///
    /// The sink's own.
    fn block_end(&mut self) -> io::Result<()>;
    /// The stream ends. `padding` are the bits before the next whole byte.
    ///
    /// # Errors
    ///
    /// The sink's own.
    fn padding(&mut self, padding: u8) -> io::Result<()>;
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads a stream to its end, and no byte more.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] or [`io::ErrorKind::UnexpectedEof`] if the stream is malformed, and the errors of the
/// input and the sink.
pub fn parse_deflate(input: &mut ByteSource<impl Read>, sink: &mut impl DeflateSink) -> io::Result<()> {
    let mut bits = BitReader::new(input);
    loop {
        let is_last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => {
                let padding = bits.padding()?;
                let (len, complement) = (bits.take(16)?, bits.take(16)?);
                if len ^ complement != 0xffff {
                    return Err(invalid("the length of a stored block is damaged"));
                }
                sink.head(&BlockHead::Stored { padding, len: len as u16 }, is_last)?;
                for _ in 0..len {
                    sink.token(DeflateToken::Literal(bits.take(8)? as u8))?;
                }
            }
            1 => {
                sink.head(&BlockHead::Fixed, is_last)?;
                let (literals, distances) = fixed_lengths();
                tokens(&mut bits, &literals, &distances, sink)?;
            }
            2 => {
                let head = dynamic_head(&mut bits)?;
                let (literals, distances) = code_lengths(&head).ok_or_else(|| invalid("the codes are malformed"))?;
                sink.head(&BlockHead::Dynamic(Box::new(head)), is_last)?;
                tokens(&mut bits, &literals, &distances, sink)?;
            }
            _ => return Err(invalid("a block has a reserved type")),
        }
        sink.block_end()?;
        if is_last {
            let padding = bits.padding()?;
            bits.end();
            return sink.padding(padding);
        }
    }
}

fn dynamic_head<R: Read>(bits: &mut BitReader<'_, R>) -> io::Result<DynamicHead> {
    let (literals, distances) = (bits.take(5)? as u8, bits.take(5)? as u8);
    let count = bits.take(4)? as usize + 4;
    let mut head = DynamicHead { literals, distances, ..Default::default() };
    let mut lengths = [0; 19];
    for place in &CODE_ORDER[..count] {
        lengths[*place] = bits.take(3)? as u8;
        head.code_lengths.push(lengths[*place]);
    }
    let table = HuffmanTable::new(&lengths).ok_or_else(|| invalid("the codes of lengths are malformed"))?;
    let all = usize::from(literals) + 257 + usize::from(distances) + 1;
    let mut seen = 0;
    while seen < all {
        let symbol = symbol(bits, &table)? as u8;
        let extra = bits.take(symbol_extra(symbol))? as u8;
        seen += match symbol {
            16 | 17 => 3 + usize::from(extra),
            18 => 11 + usize::from(extra),
            _ => 1,
        };
        head.symbols.push((symbol, extra));
    }
    Ok(head)
}

#[inline]
fn symbol<R: Read>(bits: &mut BitReader<'_, R>, table: &HuffmanTable) -> io::Result<u16> {
    bits.refill()?;
    ready_symbol(bits, table)
}

/// Takes a symbol that is in memory whole, if the input has it.
#[inline]
fn ready_symbol<R: Read>(bits: &mut BitReader<'_, R>, table: &HuffmanTable) -> io::Result<u16> {
    let next = bits.peek_ready(table.bits);
    let (symbol, len) = table.symbol(next).ok_or_else(|| invalid("a code is not defined"))?;
    bits.skip(len)?;
    Ok(symbol)
}

fn tokens<R: Read>(
    bits: &mut BitReader<'_, R>,
    literals: &[u8],
    distances: &[u8],
    sink: &mut impl DeflateSink,
) -> io::Result<()> {
    let malformed = || invalid("the codes are malformed");
    let literals = HuffmanTable::new(literals).ok_or_else(malformed)?;
    let distances = HuffmanTable::new(distances).ok_or_else(malformed)?;
    let take_ready = |bits: &mut BitReader<'_, R>, count: u8| {
        let value = bits.peek_ready(u32::from(count));
        bits.skip(u32::from(count)).map(|()| value)
    };
    loop {
        // Enough for the two codes of a match and their further bits, of which there are at most 15, 5, 15 and 13.
        bits.refill()?;
        let code = ready_symbol(bits, &literals)?;
        let token = match code {
            0..=255 => DeflateToken::Literal(code as u8),
            256 => return Ok(()),
            _ => {
                let code = usize::from(code) - 257;
                let extra = LENGTH_EXTRA.get(code).ok_or_else(|| invalid("a length code is reserved"))?;
                let len = u32::from(LENGTH_BASE[code]) + take_ready(bits, *extra)?;
                let place = usize::from(ready_symbol(bits, &distances)?);
                let extra = DISTANCE_EXTRA.get(place).ok_or_else(|| invalid("a distance code is reserved"))?;
                let distance = u32::from(DISTANCE_BASE[place]) + take_ready(bits, *extra)?;
                if code == 27 && len == 258 {
                    // No encoder writes it so.
                    return Err(invalid("a length of 258 has an unusual code"));
                }
                DeflateToken::new_match(len, distance)
            }
        };
        sink.token(token)?;
    }
}
