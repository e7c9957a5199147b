//! Rebuilding gzip blobs from the archive and a record.

use std::io::{self, Read};

use libcomposefs_deflate::{BlockHead, DeflateToken, DeflateWriter};

use super::follow::token_len;
use super::gzip_recorder::{END, HEADER_MAX, MEMBER, OTHER};
use super::predict::{EncoderGuess, MatchEvent, PlainWindow, TokenPredictor};
use super::recorder::KEPT;
use super::varint;
use super::work::WorkLimit;

/// Number of plain bytes that are read at once.
const PIECE: u64 = 256 << 10;
/// Size of the output after which it is given out.
const OUTPUT: usize = 128 << 10;
/// Number of tokens between two looks at the size of the output.
const TOKENS: u64 = 4096;

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The three parts of a record.
pub(super) struct RecordParts<R> {
    pub(super) heads: R,
    pub(super) differences: R,
    pub(super) streams: R,
}

/// Rebuilds a gzip blob step by step.
pub(super) struct GzipRebuilder<R, A> {
    parts: RecordParts<R>,
    archive: A,
    work: WorkLimit,
    writer: DeflateWriter,
    /// The tokens of the present member.
    tokens: Option<TokenSource>,
    /// The present block: number of tokens that it still has, and whether it is the last one of its member.
    block: Option<(u64, bool)>,
    is_done: bool,
}

impl<R: Read, A: Read> GzipRebuilder<R, A> {
    pub(super) fn new(parts: RecordParts<R>, archive: A, work: WorkLimit) -> Self {
        Self { parts, archive, work, writer: DeflateWriter::default(), tokens: None, block: None, is_done: false }
    }

    /// Rebuilds the next bytes, which replace those in `out`. None are left only at the end of the blob.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        while self.writer.bytes().len() < OUTPUT && !self.is_done {
            self.is_done = !self.step()?;
        }
        std::mem::swap(self.writer.bytes(), out);
        Ok(())
    }

    /// Returns false at the end of the blob.
    fn step(&mut self) -> io::Result<bool> {
        if self.tokens.is_none() {
            return self.begin_part();
        }
        match self.block {
            None => self.begin_block()?,
            Some((0, is_last)) => self.end_block(is_last)?,
            Some((left, is_last)) => {
                let Some(tokens) = &mut self.tokens else { return Ok(true) };
                let count = left.min(TOKENS);
                for _ in 0..count {
                    let token = tokens.token(&mut self.archive, &mut self.parts.differences, &mut self.work)?;
                    self.writer.token(token).ok_or_else(|| invalid("a block has no code for a token"))?;
                }
                self.block = Some((left - count, is_last));
            }
        }
        Ok(true)
    }

    fn begin_part(&mut self) -> io::Result<bool> {
        let RecordParts { heads, differences, streams } = &mut self.parts;
        match byte(heads)? {
            END => return Ok(false),
            MEMBER => {
                let header = sized(heads, HEADER_MAX as u64 + 1024)?;
                self.writer.bytes().extend_from_slice(&header);
                let len = varint::take(streams)?;
                let (number, segment) = (varint::take(streams)?, varint::take(streams)?);
                let guess = EncoderGuess::new(number, segment).ok_or_else(|| invalid("an encoder is not known"))?;
                self.tokens = Some(TokenSource::new(guess, len, differences)?);
            }
            OTHER => {
                let bytes = sized(heads, 64 << 10)?;
                if bytes.is_empty() {
                    return Err(invalid("a part is empty"));
                }
                self.writer.bytes().extend_from_slice(&bytes);
            }
            _ => return Err(invalid("the mark of a part is not known")),
        }
        Ok(true)
    }

    fn begin_block(&mut self) -> io::Result<()> {
        let (head, is_last) = BlockHead::take(&mut self.parts.heads)?;
        self.writer.head(&head, is_last).ok_or_else(|| invalid("the codes of a block are malformed"))?;
        let count = varint::take(&mut self.parts.heads)?;
        if matches!(head, BlockHead::Stored { len, .. } if u64::from(len) != count) {
            return Err(invalid("a stored block has another length"));
        }
        self.block = Some((count, is_last));
        Ok(())
    }

    fn end_block(&mut self, is_last: bool) -> io::Result<()> {
        self.writer.block_end().ok_or_else(|| invalid("a block has no code for its end"))?;
        self.block = None;
        if is_last {
            self.writer.pad(byte(&mut self.parts.heads)?);
            let mut trailer = [0; 8];
            self.parts.heads.read_exact(&mut trailer)?;
            self.writer.bytes().extend_from_slice(&trailer);
            self.tokens.take().map_or(Ok(()), |tokens| tokens.end())?;
        }
        Ok(())
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

/// The tokens of one stream: predicted, and corrected.
struct TokenSource {
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
}

impl TokenSource {
    fn new(guess: EncoderGuess, len: u64, differences: &mut impl Read) -> io::Result<Self> {
        if len > u64::MAX / 4 {
            return Err(invalid("the length of a stream is too large"));
        }
        let right = varint::take(differences)?;
        let (predictor, plain, rest) = (TokenPredictor::new(guess), Vec::new(), MatchEvent::default());
        Ok(Self { right, predictor, plain, base: 0, position: 0, len, rest, at: 0 })
    }

    /// Returns the next token.
    fn token(
        &mut self,
        archive: &mut impl Read,
        differences: &mut impl Read,
        work: &mut WorkLimit,
    ) -> io::Result<DeflateToken> {
        if self.at == self.position {
            if self.position == self.len {
                return Err(invalid("the blocks are longer than their stream"));
            }
            work.spend(self.predictor.take_work())?;
            self.fill(archive)?;
            self.event(differences)?;
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
    fn fill(&mut self, archive: &mut impl Read) -> io::Result<()> {
        let horizon = self.predictor.horizon(self.position).min(self.len);
        let end = self.base + self.plain.len() as u64;
        if horizon <= end {
            return Ok(());
        }
        let unused = usize::try_from(self.position - self.base).unwrap_or_default().saturating_sub(KEPT);
        self.plain.drain(..unused);
        self.base += unused as u64;
        let wanted = (horizon - end).max(PIECE).min(self.len - end);
        let read = archive.take(wanted).read_to_end(&mut self.plain)?;
        if (read as u64) < wanted { Err(invalid("the archive is shorter than the blob")) } else { Ok(()) }
    }

    /// Makes the next event.
    fn event(&mut self, differences: &mut impl Read) -> io::Result<()> {
        let plain = PlainWindow { bytes: &self.plain, base: self.base, end: self.len };
        let position = self.position;
        if let Some(end) = self.predictor.begin_chunk(&plain, position) {
            if self.right == 0 {
                self.predictor.pass_chunk(&plain, position);
                self.right = varint::take(differences)?;
                self.rest = MatchEvent { literals: (end - position) as u32, len: 0, distance: 0 };
                self.position = end;
                return Ok(());
            }
            self.right -= 1;
        }
        let mut event = self.predictor.predict(&plain, position);
        if self.right == 0 {
            event = self.difference(differences)?;
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
    fn difference(&mut self, differences: &mut impl Read) -> io::Result<MatchEvent> {
        let plain = PlainWindow { bytes: &self.plain, base: self.base, end: self.len };
        let literals_max = u64::from(self.predictor.run_max(&plain, self.position));
        let (literals, len) = (varint::take(differences)?, varint::take(differences)?);
        let distance = if len > 0 { varint::take(differences)? } else { 0 };
        self.right = varint::take(differences)?;
        let start = self.position + literals.min(literals_max);
        let is_match = (3..=258).contains(&len) && (1..=start.min(32768)).contains(&distance);
        let is_empty = literals == 0 && len == 0;
        if literals > literals_max || (len > 0 && !is_match) || is_empty || start + len > self.len {
            return Err(invalid("a difference is malformed"));
        }
        Ok(MatchEvent { literals: literals as u32, len: len as u32, distance: distance as u32 })
    }

    /// Ends the stream.
    fn end(&self) -> io::Result<()> {
        let is_whole = self.at == self.len && self.right == 0;
        if is_whole { Ok(()) } else { Err(invalid("the blocks are shorter than their stream")) }
    }
}
