//! Receives the bodies of answers, bounded in length.

use std::io;
use std::ops::Range;

use libcomposefs_delivery::{RangeAnswer, RangeSink};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE};

use crate::error::ErrorKind;
use crate::printable::printable;
use crate::transport::{Answer, AnswerBody};
use crate::wire::ContentRange;

/// How the receipt of a body ended.
#[derive(Debug)]
pub(super) enum BodyEnd {
    /// All bytes arrived.
    Whole,
    /// The connection was cut, or stalls.
    Cut(String),
    /// There are more bytes than this.
    TooLong(u64),
    /// The receiver failed.
    Receiver(io::Error),
}

/// Gives a body of at most `limit` bytes to a receiver.
fn drain_into(body: &mut AnswerBody, limit: u64, receive: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> BodyEnd {
    let mut received = 0_u64;
    loop {
        let piece = match body.chunk() {
            Ok(Some(piece)) => piece,
            Ok(None) => return BodyEnd::Whole,
            Err(failure) => return BodyEnd::Cut(failure.to_string()),
        };
        let length = piece.len() as u64;
        if length > limit.saturating_sub(received) {
            return BodyEnd::TooLong(limit);
        }
        received += length;
        if let Err(error) = receive(&piece) {
            return BodyEnd::Receiver(error);
        }
    }
}

/// Reads a body of at most `limit` bytes.
pub(super) fn read_whole(body: &mut AnswerBody, limit: u64) -> Result<Vec<u8>, BodyEnd> {
    let mut bytes = Vec::new();
    let end = drain_into(body, limit, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    match end {
        BodyEnd::Whole => Ok(bytes),
        other => Err(other),
    }
}

/// The body of an answer to a request for one range.
#[derive(Debug)]
pub(super) struct RangeBody {
    body: AnswerBody,
    answer: RangeAnswer,
    /// Bytes that the body must have.
    length: u64,
}

impl RangeBody {
    /// Checks the head of an answer with status 200, 206 or 416.
    pub(super) fn new(answer: Answer, range: &Range<u64>) -> Result<Self, ErrorKind> {
        let protocol = |reason: String| ErrorKind::Protocol { reason };
        let announced = answer.body.announced();
        let text = answer.header(&CONTENT_RANGE);
        if answer.status == StatusCode::RANGE_NOT_SATISFIABLE {
            let size = text.and_then(|text| text.trim().strip_prefix("bytes */")?.parse().ok());
            return Err(ErrorKind::Range { size });
        }
        check_encoding(&answer)?;
        if answer.status == StatusCode::OK {
            let length =
                announced.ok_or_else(|| protocol("it has neither the range nor the length of the file".to_owned()))?;
            if length < range.end {
                return Err(ErrorKind::Range { size: Some(length) });
            }
            return Ok(Self { body: answer.body, answer: RangeAnswer::Whole(length), length });
        }
        let text = text.ok_or_else(|| protocol("an answer with a part has no Content-Range".to_owned()))?;
        let found = ContentRange::parse(text)
            .ok_or_else(|| protocol(format!("the Content-Range {:?} is not valid", printable(text, 100))))?;
        if let Some(size) = found.total.filter(|total| *total < range.end) {
            return Err(ErrorKind::Range { size: Some(size) });
        }
        if (found.first, found.end) != (range.start, range.end) {
            let reason =
                format!("it has bytes {} to {} instead of {} to {}", found.first, found.end, range.start, range.end);
            return Err(protocol(reason));
        }
        let length = range.end - range.start;
        if let Some(found) = announced.filter(|announced| *announced != length) {
            return Err(ErrorKind::Size { expected: length, found });
        }
        Ok(Self { body: answer.body, answer: RangeAnswer::Part, length })
    }

    /// Returns what the answer has.
    pub(super) fn answer(&self) -> RangeAnswer {
        self.answer
    }

    /// Gives the bytes to the sink: all of them, and not one more.
    pub(super) fn give(&mut self, sink: &mut dyn RangeSink) -> BodyEnd {
        if let Err(error) = sink.begin(self.answer) {
            return BodyEnd::Receiver(error);
        }
        let mut received = 0;
        let end = drain_into(&mut self.body, self.length, &mut |piece| {
            received += piece.len() as u64;
            sink.bytes(piece)
        });
        match end {
            BodyEnd::Whole if received < self.length => BodyEnd::Cut("the answer ended early".to_owned()),
            other => other,
        }
    }
}

/// Refuses an encoding: the bytes would not be those of the file.
pub(super) fn check_encoding(answer: &Answer) -> Result<(), ErrorKind> {
    match answer.header(&CONTENT_ENCODING) {
        None | Some("" | "identity") => Ok(()),
        Some(other) => {
            let other = printable(other, 40);
            let reason = format!("it has the Content-Encoding {other}, and none was asked for");
            Err(ErrorKind::Protocol { reason })
        }
    }
}
