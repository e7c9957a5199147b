//! Reads ranges of a blob, several in one request where the registry can do that.

use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{ACCEPT_RANGES, CONTENT_TYPE, HeaderValue, RANGE};

use super::RemoteRepository;
use super::blob::{BlobReader, content_range, out_of_range};
use super::wanted::WantedRanges;
use crate::digest::RegistryDigest;
use crate::error::{Error, ErrorKind};
use crate::exchange::Call;
use crate::transport::Answer;
use crate::wire::{Multipart, MultipartError};

/// The most ranges of one request: servers refuse long headers.
const MOST_RANGES: usize = 64;

/// Answer to a request for ranges.
#[derive(Debug)]
pub enum RangesAnswer {
    /// All ranges were given to the receiver.
    Done,
    /// The registry sends no ranges, but the whole blob, which this stream reads.
    WholeBody(Box<BlobReader>),
}

impl RemoteRepository {
    /// Returns the number of ranges that one request asks for: 1 after the registry has answered a request for several
    /// ranges with one or none.
    #[must_use]
    pub fn ranges_per_request(&self) -> usize {
        if self.is_single_range.load(Ordering::Relaxed) { 1 } else { MOST_RANGES }
    }
}

/// The end of one answer.
enum Part {
    Complete,
    Cut(String),
}

impl RemoteRepository {
    /// Reads `ranges` of a blob of `size` bytes, and gives the bytes with their offsets to `sink`.
    ///
    /// The ranges must be sorted and must not overlap. Each byte is given once, those of a range in ascending order.
    /// The bytes are not verified: the digest covers the whole blob only. After [`RangesAnswer::WholeBody`] the bytes
    /// that `sink` got before, if any, are part of the stream as well.
    ///
    /// # Errors
    ///
    /// If the registry does not have the blob or the ranges, if the connection fails, or if `sink` fails.
    pub fn ranges(
        &self,
        digest: &RegistryDigest,
        size: u64,
        ranges: &[Range<u64>],
        sink: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<RangesAnswer, Error> {
        let mut call = self.blob_call(digest);
        let failed = |kind: ErrorKind| Error::new(&self.blob_call(digest).subject, kind);
        let mut wanted = WantedRanges::new(ranges, size).ok_or_else(|| failed(ErrorKind::BadRanges { size }))?;
        let mut backoff = self.exchange.backoff();
        while !wanted.is_empty() {
            let (header, asked) = wanted.header(self.ranges_per_request());
            let value =
                HeaderValue::from_str(&header).map_err(|error| failed(ErrorKind::Invalid(error.to_string())))?;
            call.headers.insert(RANGE, value);
            let answer = self.exchange.send(&call, &mut backoff)?;
            match answer.status {
                StatusCode::PARTIAL_CONTENT => {}
                // S3, for one, sends single ranges only. The body is not read.
                StatusCode::OK if asked > 1 && accepts_ranges(&answer) => {
                    self.is_single_range.store(true, Ordering::Relaxed);
                    continue;
                }
                StatusCode::OK => {
                    return self.blob_of(digest, size, answer).map(|all| RangesAnswer::WholeBody(all.into()));
                }
                StatusCode::RANGE_NOT_SATISFIABLE => return Err(failed(out_of_range(&answer))),
                _ => return Err(self.exchange.refuse(&call, answer)),
            }
            let before = wanted.bytes();
            let mut receive = |at: u64, bytes: &[u8]| {
                let given = wanted.take(at, bytes, sink)?;
                self.exchange.progress().received(digest, given);
                Ok(())
            };
            let is_multipart = asked > 1 && multipart(&answer).is_some();
            let part = read_parts(answer, size, &mut receive).map_err(failed)?;
            let has_progress = wanted.bytes() < before;
            if has_progress {
                backoff.reset();
            }
            match part {
                Part::Complete if !has_progress => return Err(failed(missing_range(&header))),
                // The registry has sent the first of several ranges, or one around all.
                Part::Complete if asked > 1 && !is_multipart => self.is_single_range.store(true, Ordering::Relaxed),
                Part::Complete => {}
                Part::Cut(reason) => {
                    if !self.exchange.pause(&mut backoff, &reason, Duration::ZERO) {
                        return Err(failed(ErrorKind::Transfer { retries: backoff.used(), reason }));
                    }
                }
            }
        }
        Ok(RangesAnswer::Done)
    }
}

fn multipart(answer: &Answer) -> Option<Multipart> {
    answer.header(&CONTENT_TYPE).and_then(Multipart::new)
}

/// Reports whether the registry says that it sends ranges.
fn accepts_ranges(answer: &Answer) -> bool {
    answer.header(&ACCEPT_RANGES).is_some_and(|value| value.trim().eq_ignore_ascii_case("bytes"))
}

fn missing_range(header: &str) -> ErrorKind {
    let start: String = header.chars().take(100).collect();
    ErrorKind::Protocol { reason: format!("the parts do not have the bytes that were asked for ({start})") }
}

/// Reads the body of an answer: one range, or parts.
fn read_parts(
    mut answer: Answer,
    size: u64,
    receive: &mut impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> Result<Part, ErrorKind> {
    let protocol = |reason: String| ErrorKind::Protocol { reason };
    if let Some(mut parser) = multipart(&answer) {
        loop {
            match answer.body.chunk() {
                Ok(Some(chunk)) => match parser.feed(&chunk, size, receive) {
                    Ok(()) if parser.is_at_end() => return Ok(Part::Complete),
                    Ok(()) => {}
                    Err(MultipartError::Invalid(reason)) => return Err(protocol(reason.to_owned())),
                    Err(MultipartError::Receiver(error)) => return Err(ErrorKind::Local(error)),
                },
                Ok(None) => return Ok(Part::Cut("the answer ended early".to_owned())),
                Err(failure) => return Ok(Part::Cut(failure.to_string())),
            }
        }
    }
    let range = content_range(&answer).map_err(protocol)?;
    if let Some(found) = range.total.filter(|total| *total != size) {
        return Err(ErrorKind::Size { expected: size, found });
    }
    let mut at = range.first;
    while at < range.end {
        match answer.body.chunk() {
            Ok(Some(chunk)) if chunk.len() as u64 > range.end - at => {
                return Err(ErrorKind::TooLong { limit: range.end - range.first });
            }
            Ok(Some(chunk)) => {
                receive(at, &chunk).map_err(ErrorKind::Local)?;
                at += chunk.len() as u64;
            }
            Ok(None) => return Ok(Part::Cut("the answer ended early".to_owned())),
            Err(failure) => return Ok(Part::Cut(failure.to_string())),
        }
    }
    Ok(Part::Complete)
}

impl RemoteRepository {
    /// Reports whether the repository has a blob.
    ///
    /// # Errors
    ///
    /// If the registry gives another answer than yes or no.
    pub fn blob_exists(&self, digest: &RegistryDigest) -> Result<bool, Error> {
        let mut call: Call = self.blob_call(digest);
        call.method = reqwest::Method::HEAD;
        call.subject.action = "look for the blob";
        let answer = self.exchange.send(&call, &mut self.exchange.backoff())?;
        match answer.status {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.exchange.refuse(&call, answer)),
        }
    }
}
