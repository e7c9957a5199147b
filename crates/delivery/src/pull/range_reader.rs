//! A range of a file is read in pieces, each with repetitions that go on where the last attempt ended.

use std::io::{self, Read};
use std::ops::Range;

use super::jobs::REQUEST_MAX;
use super::limiter::RateLimiter;
use crate::remote::Remote;
use crate::retry::Attempts;
use crate::{DeliveryError, FileName, RangeAnswer, RangeSink};

/// The result of reading a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RangeRead {
    /// All bytes of the range have arrived.
    Done,
    /// The server answers ranges by the whole file, of which nothing was read.
    WholeOnly,
}

/// How a range is read.
#[derive(Clone, Copy)]
pub(super) struct RangeAccess<'a> {
    pub(super) remote: &'a Remote<'a>,
    pub(super) limiter: &'a RateLimiter,
    /// Receives the number of bytes that arrive.
    pub(super) arrived: &'a (dyn Fn(u64) + Sync),
}

impl RangeAccess<'_> {
    /// Reads a range of a file of `size` bytes. If `accepts_whole` is set, the range is taken from a whole file too.
    pub(super) fn read(
        &self,
        name: &FileName,
        size: u64,
        range: Range<u64>,
        accepts_whole: bool,
        out: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<RangeRead, DeliveryError> {
        let patience = self.remote.patience();
        let accepts_whole = accepts_whole || (range.start == 0 && range.end == size);
        let mut sink = PartSink {
            access: *self,
            out,
            next: range.start,
            end: range.end,
            size,
            accepts_whole,
            skip: 0,
            refusal: None,
        };
        let mut attempts = Attempts::default();
        while sink.next < range.end {
            patience.proceed()?;
            let before = sink.next;
            let result = self.remote.store().read_range(name, before..range.end, &mut sink);
            match sink.refusal.take() {
                Some(SinkRefusal::Whole) => return Ok(RangeRead::WholeOnly),
                Some(SinkRefusal::Interrupted) => return Err(DeliveryError::Interrupted),
                Some(SinkRefusal::Length(found)) => {
                    let reason = format!("it has {found} bytes instead of {size}");
                    return Err(self.remote.damaged(name, reason));
                }
                Some(SinkRefusal::TooLong) => {
                    return Err(self.remote.damaged(name, "more bytes came than were asked for"));
                }
                Some(SinkRefusal::Out(error)) => return Err(DeliveryError::Spool(error)),
                None => {}
            }
            if sink.next > before {
                attempts.reset();
            }
            match result {
                Ok(Some(_)) if sink.next < range.end => {
                    let error = crate::RemoteError::new(self.remote.location(), "read", "the answer ends too early");
                    patience.wait_after(error.of(name).temporary(None), &mut attempts)?;
                }
                Ok(Some(_)) => {}
                Ok(None) => return Err(self.remote.damaged(name, "it is missing")),
                Err(error) => patience.wait_after(error, &mut attempts)?,
            }
        }
        Ok(RangeRead::Done)
    }
}

/// Reason why a sink took no more bytes.
enum SinkRefusal {
    Whole,
    Length(u64),
    TooLong,
    Interrupted,
    Out(io::Error),
}

/// Receives the bytes of a range, from its next byte on.
struct PartSink<'a> {
    access: RangeAccess<'a>,
    out: &'a mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    /// Offset of the next byte.
    next: u64,
    end: u64,
    size: u64,
    accepts_whole: bool,
    /// Number of bytes of the answer that are passed over.
    skip: u64,
    refusal: Option<SinkRefusal>,
}

impl PartSink<'_> {
    fn refuse(&mut self, refusal: SinkRefusal) -> io::Error {
        self.refusal = Some(refusal);
        io::Error::other("the bytes are not wanted")
    }
}

impl RangeSink for PartSink<'_> {
    fn begin(&mut self, answer: RangeAnswer) -> io::Result<()> {
        match answer {
            RangeAnswer::Part => self.skip = 0,
            RangeAnswer::Whole(_) if !self.accepts_whole => return Err(self.refuse(SinkRefusal::Whole)),
            RangeAnswer::Whole(length) if length != self.size => return Err(self.refuse(SinkRefusal::Length(length))),
            RangeAnswer::Whole(_) => self.skip = self.next,
        }
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        (self.access.arrived)(bytes.len() as u64);
        if self.access.limiter.take(bytes.len() as u64, self.access.remote.patience()).is_err() {
            return Err(self.refuse(SinkRefusal::Interrupted));
        }
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        let rest = bytes.get(skipped..).unwrap_or_default();
        if rest.len() as u64 > self.end - self.next {
            return Err(self.refuse(SinkRefusal::TooLong));
        }
        self.next += rest.len() as u64;
        (self.out)(rest).map_err(|error| self.refuse(SinkRefusal::Out(error)))
    }
}

/// Gives the bytes of a range one after the other, and reads a piece when it is needed.
pub(super) struct PieceReader<'a> {
    access: RangeAccess<'a>,
    file: &'a FileName,
    size: u64,
    /// Bytes of the range that were not asked for.
    rest: Range<u64>,
    piece: Vec<u8>,
    used: usize,
    /// The error behind an error of reading.
    failed: Option<DeliveryError>,
}

impl<'a> PieceReader<'a> {
    pub(super) fn new(access: RangeAccess<'a>, file: &'a FileName, size: u64, range: Range<u64>) -> Self {
        Self { access, file, size, rest: range, piece: Vec::new(), used: 0, failed: None }
    }

    /// Asks for the first piece, so that a server that ignores ranges is known.
    pub(super) fn begin(&mut self) -> Result<RangeRead, DeliveryError> {
        self.next_piece()
    }

    /// Returns the error behind an error of reading.
    pub(super) fn take_error(&mut self) -> Option<DeliveryError> {
        self.failed.take()
    }

    fn next_piece(&mut self) -> Result<RangeRead, DeliveryError> {
        let end = self.rest.end.min(self.rest.start.saturating_add(REQUEST_MAX));
        let mut piece = std::mem::take(&mut self.piece);
        piece.clear();
        let mut out = |bytes: &[u8]| {
            piece.extend_from_slice(bytes);
            Ok(())
        };
        let read = self.access.read(self.file, self.size, self.rest.start..end, false, &mut out)?;
        (self.piece, self.used, self.rest.start) = (piece, 0, end);
        Ok(read)
    }
}

impl Read for PieceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.piece.len() && !self.rest.is_empty() && !buffer.is_empty() {
            match self.next_piece() {
                Ok(RangeRead::Done) => {}
                Ok(RangeRead::WholeOnly) => {
                    let reason = "the server answered a range by the whole file, after it had answered by the part";
                    self.failed = Some(self.access.remote.damaged(self.file, reason));
                    return Err(io::Error::other(reason));
                }
                Err(error) => {
                    self.failed = Some(error);
                    return Err(io::Error::other("the range could not be read"));
                }
            }
        }
        let mut rest = self.piece.get(self.used..).unwrap_or_default();
        let read = rest.read(buffer)?;
        self.used += read;
        Ok(read)
    }
}
