//! Recording a DEFLATE stream: the heads of its blocks, and the differences of its tokens from those predicted.

use std::io::{self, Write};

use libcomposefs_deflate::{BlockHead, DISTANCE_MAX, DeflateSink, DeflateToken};
use zstd::stream::write::Encoder;

use super::follow::{DifferenceCost, DifferenceSink, TokensAhead, follow};
use super::predict::{EncoderGuess, MatchEvent, PlainWindow, TokenPredictor};
use super::varint;
use super::work::WorkLimit;

/// Number of bytes by which an encoder is chosen, beside the ends of its segments.
const SAMPLE: u64 = 192 << 10;
/// Number of positions that are compared at most to choose an encoder, and the number of bytes after which they are
/// counted.
const CHOICE_WORK: u64 = 1 << 28;
const CHOICE_STEP: u64 = 8 << 10;
/// Number of plain bytes that are read before an encoder is chosen.
const AHEAD: u64 = (1 << 20) + (128 << 10);
/// Number of plain bytes that are kept before those that are predicted.
pub(super) const KEPT: usize = 128 << 10;
/// A stream of this size is enough to choose the encoder for those that follow.
const SURE: u64 = 64 << 10;
/// Level of the compression of records.
const LEVEL: i32 = 6;

/// A part of a record that grows, compressed, up to a limit.
pub(super) struct RecordPart(Encoder<'static, Vec<u8>>);

impl RecordPart {
    fn new() -> io::Result<Self> {
        Ok(Self(Encoder::new(Vec::new(), LEVEL)?))
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn len(&self) -> u64 {
        self.0.get_ref().len() as u64
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        self.0.finish()
    }
}

/// The differences, as they are written: the number of right predictions, then what was written instead.
#[derive(Debug, Default)]
pub(super) struct Differences {
    bytes: Vec<u8>,
    right: u64,
}

impl Differences {
    fn end_run(&mut self) {
        varint::put(&mut self.bytes, std::mem::take(&mut self.right));
    }
}

impl DifferenceSink for Differences {
    fn right(&mut self) {
        self.right += 1;
    }

    fn literal_chunk(&mut self) {
        self.end_run();
    }

    fn other(&mut self, event: MatchEvent) {
        self.end_run();
        varint::put(&mut self.bytes, u64::from(event.literals));
        varint::put(&mut self.bytes, u64::from(event.len));
        if event.len > 0 {
            varint::put(&mut self.bytes, u64::from(event.distance));
        }
    }
}

/// Records the streams of a blob, one after the other.
pub(super) struct DeflateRecorder {
    /// Heads of members and blocks.
    pub(super) heads: RecordPart,
    /// Differences of the tokens.
    differences: RecordPart,
    /// Length, encoder and segment size of each stream.
    streams: RecordPart,
    pending: Differences,
    guess: Option<EncoderGuess>,
    /// The stream by which the encoder was chosen was long enough.
    is_sure: bool,
    predictor: Option<TokenPredictor>,
    plain: Vec<u8>,
    base: u64,
    position: u64,
    tokens: Vec<DeflateToken>,
    block_tokens: u64,
    /// Position of the first flush.
    flush: Option<u64>,
    record_max: u64,
    work: WorkLimit,
}

impl DeflateRecorder {
    pub(super) fn new(record_max: u64, work: WorkLimit) -> io::Result<Self> {
        Ok(Self {
            heads: RecordPart::new()?,
            differences: RecordPart::new()?,
            streams: RecordPart::new()?,
            pending: Differences::default(),
            guess: None,
            is_sure: false,
            predictor: None,
            plain: Vec::new(),
            base: 0,
            position: 0,
            tokens: Vec::new(),
            block_tokens: 0,
            flush: None,
            record_max,
            work,
        })
    }

    /// Returns the parts of the record.
    pub(super) fn finish(self) -> io::Result<[Vec<u8>; 3]> {
        Ok([self.heads.finish()?, self.differences.finish()?, self.streams.finish()?])
    }

    fn end(&self) -> u64 {
        self.base + self.plain.len() as u64
    }

    /// Ends the stream, and returns its length.
    pub(super) fn end_stream(&mut self) -> io::Result<u64> {
        self.drain(true)?;
        self.pending.end_run();
        self.differences.put(&self.pending.bytes)?;
        self.pending.bytes.clear();
        let (len, guess) = (self.end(), self.guess.unwrap_or_default());
        let mut bytes = Vec::new();
        for number in [len, u64::from(guess.number), u64::from(guess.segment)] {
            varint::put(&mut bytes, number);
        }
        self.streams.put(&bytes)?;
        self.predictor = None;
        self.plain.clear();
        (self.base, self.position, self.flush) = (0, 0, None);
        Ok(len)
    }

    /// Compares the tokens so far with predictions.
    fn drain(&mut self, is_whole: bool) -> io::Result<()> {
        let end = self.end();
        let plain = PlainWindow { bytes: &self.plain, base: self.base, end: if is_whole { end } else { u64::MAX / 2 } };
        let ahead = TokensAhead { tokens: &self.tokens, position: self.position, end, is_whole };
        if self.predictor.is_none() {
            if !self.is_sure {
                self.guess = Some(choose(&plain, &ahead, self.flush));
                self.is_sure = end >= SURE;
            }
            self.predictor = self.guess.map(TokenPredictor::new);
        }
        let Some(predictor) = &mut self.predictor else { return Ok(()) };
        let (count, position) = follow(predictor, &plain, &ahead, u64::MAX, &mut self.pending);
        self.work.spend(predictor.take_work())?;
        self.tokens.drain(..count);
        self.position = position;
        let unused = usize::try_from(position - self.base).unwrap_or_default().saturating_sub(KEPT);
        self.plain.drain(..unused);
        self.base += unused as u64;
        self.differences.put(&self.pending.bytes)?;
        self.pending.bytes.clear();
        if self.heads.len() + self.differences.len() > self.record_max {
            return Err(io::Error::other("the record is too large"));
        }
        Ok(())
    }
}

/// Chooses the encoder whose predictions cost least.
fn choose(plain: &PlainWindow<'_>, ahead: &TokensAhead<'_>, flush: Option<u64>) -> EncoderGuess {
    let mut work_left = CHOICE_WORK;
    let mut cheapest = |guesses: &mut dyn Iterator<Item = EncoderGuess>, until: u64| {
        let mut best = (EncoderGuess::default(), u64::MAX);
        for guess in guesses {
            // With nothing left the best so far is taken: a wrong choice costs differences only.
            let Some(cost) = cost_of(guess, plain, *ahead, (until, best.1), &mut work_left) else { break };
            if cost < best.1 {
                best = (guess, cost);
            }
        }
        best.0
    };
    let guess = cheapest(&mut EncoderGuess::all(), SAMPLE);
    match flush.and_then(|flush| EncoderGuess::new(guess.number.into(), flush)) {
        // As far as the tokens go, so that there is a second segment.
        Some(divided) => cheapest(&mut [guess, divided].into_iter(), u64::MAX),
        None => guess,
    }
}

/// Returns the cost of the predictions of an encoder up to a position, at most about `max`. `None` if the work that is
/// left does not suffice.
fn cost_of(
    guess: EncoderGuess,
    plain: &PlainWindow<'_>,
    mut ahead: TokensAhead<'_>,
    (until, max): (u64, u64),
    work_left: &mut u64,
) -> Option<u64> {
    let (mut predictor, mut sink) = (TokenPredictor::new(guess), DifferenceCost { cost: 0, max });
    loop {
        let next = ahead.position.saturating_add(CHOICE_STEP).min(until);
        let (count, position) = follow(&mut predictor, plain, &ahead, next, &mut sink);
        *work_left = work_left.checked_sub(predictor.take_work())?;
        if position == ahead.position || position >= until || sink.is_full() {
            return Some(sink.cost);
        }
        ahead.tokens = ahead.tokens.get(count..).unwrap_or_default();
        ahead.position = position;
    }
}

impl DeflateSink for DeflateRecorder {
    fn head(&mut self, head: &BlockHead, is_last: bool) -> io::Result<()> {
        if matches!(head, BlockHead::Stored { len: 0, .. }) && !is_last && self.flush.is_none() {
            self.flush = Some(self.end());
        }
        let mut bytes = Vec::new();
        head.put(is_last, &mut bytes);
        self.block_tokens = 0;
        self.heads.put(&bytes)
    }

    fn token(&mut self, token: DeflateToken) -> io::Result<()> {
        match token {
            DeflateToken::Literal(byte) => self.plain.push(byte),
            DeflateToken::Match(..) => {
                let (len, distance) = (token.byte_count() as usize, token.distance() as usize);
                let Some(from) = self.plain.len().checked_sub(distance) else {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a distance is too large"));
                };
                if distance >= len {
                    self.plain.extend_from_within(from..from + len);
                } else {
                    for at in from..from + len {
                        self.plain.push(self.plain[at]);
                    }
                }
            }
        }
        self.tokens.push(token);
        self.block_tokens += 1;
        if self.end() - self.position >= AHEAD { self.drain(false) } else { Ok(()) }
    }

    fn block_end(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        varint::put(&mut bytes, self.block_tokens);
        self.heads.put(&bytes)
    }

    fn padding(&mut self, padding: u8) -> io::Result<()> {
        self.heads.put(&[padding])
    }
}

const _: () = assert!(KEPT > 2 * DISTANCE_MAX as usize);
