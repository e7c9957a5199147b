//! Rebuilding gzip blobs from the archive and a record.

use std::io::{self, BufRead, Read, Write};

use super::deflate::{BlockHead, DeflateToken, DeflateWriter, DynamicHead};
use super::follow::token_len;
use super::gzip_recorder::{END, HEADER_MAX, MEMBER, OTHER};
use super::predict::{EncoderGuess, MatchEvent, PlainWindow, TokenPredictor};
use super::recorder::KEPT;
use super::varint;
use super::work::WorkLimit;

/// Number of plain bytes that are read at once.
const PIECE: u64 = 256 << 10;
/// Size of the output after which it is written.
const OUTPUT: usize = 256 << 10;

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The three parts of a record.
pub(super) struct RecordParts<H, D, S> {
    pub(super) heads: H,
    pub(super) differences: D,
    pub(super) streams: S,
}

/// Writes the blob.
pub(super) fn rebuild_gzip(
    parts: &mut RecordParts<impl BufRead, impl BufRead, impl BufRead>,
    archive: &mut dyn Read,
    out: &mut dyn Write,
    mut work: WorkLimit,
) -> io::Result<()> {
    loop {
        match byte(&mut parts.heads)? {
            END => return Ok(()),
            MEMBER => {
                let header = sized(&mut parts.heads, HEADER_MAX as u64 + 1024)?;
                out.write_all(&header)?;
                let len = varint::take(&mut parts.streams)?;
                let (number, segment) = (varint::take(&mut parts.streams)?, varint::take(&mut parts.streams)?);
                let guess = EncoderGuess::new(number, segment).ok_or_else(|| invalid("an encoder is not known"))?;
                let mut tokens = TokenSource::new(guess, len, archive, &mut parts.differences)?;
                tokens.work = Some(&mut work);
                rebuild_deflate(&mut parts.heads, &mut tokens, out)?;
                let mut trailer = [0; 8];
                parts.heads.read_exact(&mut trailer)?;
                out.write_all(&trailer)?;
            }
            OTHER => {
                let bytes = sized(&mut parts.heads, 64 << 10)?;
                out.write_all(&bytes)?;
            }
            _ => return Err(invalid("the mark of a part is not known")),
        }
    }
}

fn byte(input: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    input.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn bytes(input: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn sized(input: &mut impl Read, max: u64) -> io::Result<Vec<u8>> {
    let len = varint::take(input)?;
    if len > max {
        return Err(invalid("a part is too long"));
    }
    bytes(input, len as usize)
}

fn rebuild_deflate<D: Read>(
    heads: &mut impl Read,
    tokens: &mut TokenSource<'_, D>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut writer = DeflateWriter::default();
    loop {
        let (head, is_last) = read_head(heads)?;
        writer.head(&head, is_last).ok_or_else(|| invalid("the codes of a block are malformed"))?;
        let count = varint::take(heads)?;
        if matches!(head, BlockHead::Stored { len, .. } if u64::from(len) != count) {
            return Err(invalid("a stored block has another length"));
        }
        for _ in 0..count {
            let token = tokens.token()?;
            writer.token(token).ok_or_else(|| invalid("a block has no code for a token"))?;
            if writer.bytes().len() >= OUTPUT {
                out.write_all(writer.bytes())?;
                writer.bytes().clear();
            }
        }
        writer.block_end().ok_or_else(|| invalid("a block has no code for its end"))?;
        // A block without tokens adds bytes as well.
        if writer.bytes().len() >= OUTPUT {
            out.write_all(writer.bytes())?;
            writer.bytes().clear();
        }
        if is_last {
            break;
        }
    }
    writer.pad(byte(heads)?);
    out.write_all(writer.bytes())?;
    tokens.end()
}

fn read_head(heads: &mut impl Read) -> io::Result<(BlockHead, bool)> {
    let kind = byte(heads)?;
    let head = match kind >> 1 {
        0 => {
            let [padding, low, high] = [byte(heads)?, byte(heads)?, byte(heads)?];
            BlockHead::Stored { padding, len: u16::from_le_bytes([low, high]) }
        }
        1 => BlockHead::Fixed,
        2 => {
            let [literals, distances, count] = [byte(heads)?, byte(heads)?, byte(heads)?];
            if literals > 31 || distances > 31 || !(4..=19).contains(&count) {
                return Err(invalid("the head of a block is malformed"));
            }
            let code_lengths = bytes(heads, usize::from(count))?;
            if code_lengths.iter().any(|len| *len > 7) {
                return Err(invalid("the head of a block is malformed"));
            }
            let all = usize::from(literals) + 257 + usize::from(distances) + 1;
            let (mut seen, mut symbols) = (0, Vec::new());
            while seen < all {
                let (symbol, extra, len) = match byte(heads)? {
                    value @ 0..=15 => (value, 0, 1),
                    value @ 16..=19 => (16, value - 16, 3 + usize::from(value - 16)),
                    value @ 20..=27 => (17, value - 20, 3 + usize::from(value - 20)),
                    value @ 28..=155 => (18, value - 28, 11 + usize::from(value - 28)),
                    _ => return Err(invalid("a symbol of the head of a block is not known")),
                };
                seen += len;
                symbols.push((symbol, extra));
            }
            BlockHead::Dynamic(Box::new(DynamicHead { literals, distances, code_lengths, symbols }))
        }
        _ => return Err(invalid("the type of a block is not known")),
    };
    Ok((head, kind & 1 == 1))
}

/// The tokens of one stream: predicted, and corrected.
struct TokenSource<'a, D> {
    archive: &'a mut dyn Read,
    differences: &'a mut D,
    /// Number of right predictions before the next difference.
    right: u64,
    predictor: TokenPredictor,
    plain: Vec<u8>,
    base: u64,
    /// Position of the next event.
    position: u64,
    len: u64,
    /// Rest of the present event, and the position that it has reached.
    rest: MatchEvent,
    at: u64,
    work: Option<&'a mut WorkLimit>,
}

impl<'a, D: Read> TokenSource<'a, D> {
    fn new(guess: EncoderGuess, len: u64, archive: &'a mut dyn Read, differences: &'a mut D) -> io::Result<Self> {
        if len > u64::MAX / 4 {
            return Err(invalid("the length of a stream is too large"));
        }
        let right = varint::take(differences)?;
        let (predictor, plain, rest) = (TokenPredictor::new(guess), Vec::new(), MatchEvent::default());
        Ok(Self { archive, differences, right, predictor, plain, base: 0, position: 0, len, rest, at: 0, work: None })
    }

    /// Returns the next token.
    fn token(&mut self) -> io::Result<DeflateToken> {
        if self.at == self.position {
            self.event()?;
        }
        if self.rest.literals > 0 {
            self.rest.literals -= 1;
            let index = (self.at - self.base) as usize;
            self.at += 1;
            return self.plain.get(index).map(|byte| DeflateToken::Literal(*byte)).ok_or_else(|| invalid("no byte"));
        }
        let len = token_len(self.rest.len);
        self.rest.len -= len;
        self.at += u64::from(len);
        Ok(DeflateToken::new_match(len, self.rest.distance))
    }

    /// Reads the plain bytes that a prediction looks at.
    fn fill(&mut self) -> io::Result<()> {
        if let Some(work) = &mut self.work {
            work.spend(self.predictor.take_work())?;
        }
        let horizon = self.predictor.horizon(self.position).min(self.len);
        let end = self.base + self.plain.len() as u64;
        if horizon <= end {
            return Ok(());
        }
        let unused = usize::try_from(self.position - self.base).unwrap_or_default().saturating_sub(KEPT);
        self.plain.drain(..unused);
        self.base += unused as u64;
        let wanted = (horizon - end).max(PIECE).min(self.len - end);
        let read = (&mut *self.archive).take(wanted).read_to_end(&mut self.plain)?;
        if (read as u64) < wanted { Err(invalid("the archive is shorter than the blob")) } else { Ok(()) }
    }

    /// Makes the next event.
    fn event(&mut self) -> io::Result<()> {
        if self.position == self.len {
            return Err(invalid("the blocks are longer than their stream"));
        }
        self.fill()?;
        let plain = PlainWindow { bytes: &self.plain, base: self.base, end: self.len };
        let position = self.position;
        if let Some(end) = self.predictor.begin_chunk(&plain, position) {
            if self.right == 0 {
                self.predictor.pass_chunk(&plain, position);
                self.right = varint::take(self.differences)?;
                self.rest = MatchEvent { literals: (end - position) as u32, len: 0, distance: 0 };
                self.position = end;
                return Ok(());
            }
            self.right -= 1;
        }
        let mut event = self.predictor.predict(&plain, position);
        if self.right == 0 {
            event = self.difference()?;
        } else {
            self.right -= 1;
        }
        let plain = PlainWindow { bytes: &self.plain, base: self.base, end: self.len };
        self.predictor.accept(&plain, position, event);
        self.rest = event;
        self.position = position + u64::from(event.literals) + u64::from(event.len);
        Ok(())
    }

    /// Reads an event that was not predicted.
    fn difference(&mut self) -> io::Result<MatchEvent> {
        let plain = PlainWindow { bytes: &self.plain, base: self.base, end: self.len };
        let literals_max = u64::from(self.predictor.run_max(&plain, self.position));
        let (literals, len) = (varint::take(self.differences)?, varint::take(self.differences)?);
        let distance = if len > 0 { varint::take(self.differences)? } else { 0 };
        self.right = varint::take(self.differences)?;
        let start = self.position + literals.min(literals_max);
        let is_match = (3..=258).contains(&len) && (1..=start.min(32768)).contains(&distance);
        let is_empty = literals == 0 && len == 0;
        if literals > literals_max || (len > 0 && !is_match) || is_empty || start + len > self.len {
            return Err(invalid("a difference is malformed"));
        }
        Ok(MatchEvent { literals: literals as u32, len: len as u32, distance: distance as u32 })
    }

    /// Ends the stream.
    fn end(&mut self) -> io::Result<()> {
        let is_whole = self.at == self.len && self.right == 0;
        if is_whole { Ok(()) } else { Err(invalid("the blocks are shorter than their stream")) }
    }
}
