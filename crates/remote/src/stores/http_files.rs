//! Reads of files by HTTP, as web servers and S3 have them in common: whole, one range, or the length alone.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use libcomposefs_delivery::{FileName, FileVersion, RangeAnswer, RangeSink, ReadFile, RemoteError};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, StatusCode, Url};

use super::body::{BodyEnd, RangeBody, check_encoding, read_whole};
use super::failure::{AccessStep, Dialect, FoundFile};
use crate::error::ErrorKind;
use crate::exchange::{Attempt, Exchange, ServerTarget};
use crate::transport::{Answer, HttpRequest};
use crate::wire::ContentRange;

/// The longest version (ETag) that is kept.
const LONGEST_VERSION: usize = 1024;

/// The statuses of answers to a request for a range.
const RANGE_STATUSES: [StatusCode; 3] =
    [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE];

/// A server with files.
#[derive(Debug)]
pub(super) struct HttpFiles {
    pub(super) exchange: Arc<Exchange>,
    pub(super) target: ServerTarget,
    /// The remote for messages.
    pub(super) location: String,
    /// Words for refusals.
    pub(super) dialect: Dialect,
}

impl HttpFiles {
    /// Describes an access, for its errors.
    pub(super) fn step<'a>(&'a self, verb: &'static str, name: &'a FileName) -> AccessStep<'a> {
        AccessStep { location: &self.location, dialect: &self.dialect, verb, name: Some(name) }
    }

    /// Sends a request once.
    pub(super) fn ask(&self, step: &AccessStep<'_>, request: HttpRequest) -> Result<Answer, RemoteError> {
        match self.exchange.ask(&self.target, request).map_err(|kind| step.failed(kind))? {
            Attempt::Done(answer) => Ok(answer),
            Attempt::Failed { asked, kind, .. } => Err(step.temporary(kind, asked)),
        }
    }

    /// Sends a request for a file once. Returns an answer with one of these statuses, or that there is no such file.
    fn find(&self, step: &AccessStep<'_>, request: HttpRequest, accepted: &[StatusCode]) -> FoundFile<Answer> {
        let answer = self.ask(step, request)?;
        match answer.status {
            status if accepted.contains(&status) => Ok(Some(answer)),
            StatusCode::NOT_FOUND | StatusCode::GONE => step.missing(answer),
            _ => Err(step.refused(answer)),
        }
    }

    /// Reads a whole file of at most `limit` bytes.
    pub(super) fn read(&self, name: &FileName, url: Url, limit: u64) -> FoundFile<ReadFile> {
        let step = self.step("read", name);
        let Some(mut answer) = self.find(&step, get(url), &[StatusCode::OK])? else { return Ok(None) };
        check_encoding(&answer).map_err(|kind| step.failed(kind))?;
        let version = version(&answer.headers);
        let announced = answer.body.announced();
        if announced.is_some_and(|length| length > limit) {
            return Err(step.failed(ErrorKind::TooLong { limit }));
        }
        let bytes = read_whole(&mut answer.body, limit).map_err(|end| step.body_failed(end))?;
        Ok(Some(ReadFile { bytes, version }))
    }

    /// Reads one range of a file.
    pub(super) fn read_range(
        &self,
        name: &FileName,
        mut request: HttpRequest,
        range: Range<u64>,
        sink: &mut dyn RangeSink,
    ) -> FoundFile<RangeAnswer> {
        let step = self.step("read", name);
        if range.is_empty() {
            return Err(step.failed(ErrorKind::Invalid("the range to read is empty".to_owned())));
        }
        request.headers.extend(range_header(&range));
        let Some(answer) = self.find(&step, request, &RANGE_STATUSES)? else { return Ok(None) };
        let mut body = RangeBody::new(answer, &range).map_err(|kind| step.failed(kind))?;
        match body.give(sink) {
            BodyEnd::Whole => Ok(Some(body.answer())),
            other => Err(step.body_failed(other)),
        }
    }

    /// Returns the length of a file by a request without a body.
    pub(super) fn length(&self, name: &FileName, head: HttpRequest) -> FoundFile<u64> {
        let step = self.step("look for", name);
        let Some(answer) = self.find(&step, head, &[StatusCode::OK])? else { return Ok(None) };
        let length = answer.header(&CONTENT_LENGTH).and_then(|length| length.trim().parse().ok());
        match length {
            Some(length) => Ok(Some(length)),
            None => Err(step.failed(ErrorKind::Protocol { reason: "it has no Content-Length".to_owned() })),
        }
    }

    /// Returns the length of a file by the answer to a request for its first byte, for servers without `HEAD`.
    pub(super) fn length_by_range(&self, name: &FileName, mut request: HttpRequest) -> FoundFile<u64> {
        let step = self.step("look for", name);
        request.headers.extend(range_header(&(0..1)));
        let Some(answer) = self.find(&step, request, &RANGE_STATUSES)? else { return Ok(None) };
        let total = match answer.status {
            StatusCode::OK => answer.body.announced(),
            StatusCode::RANGE_NOT_SATISFIABLE => Some(0),
            _ => answer.header(&CONTENT_RANGE).and_then(ContentRange::parse).and_then(|range| range.total),
        };
        match total {
            Some(total) => Ok(Some(total)),
            None => Err(step.failed(ErrorKind::Protocol { reason: "it has no length".to_owned() })),
        }
    }
}

/// Makes a request for a whole file.
pub(super) fn get(url: Url) -> HttpRequest {
    request(Method::GET, url)
}

/// Makes a request without a body.
pub(super) fn request(method: Method, url: Url) -> HttpRequest {
    HttpRequest { method, url, headers: HeaderMap::new(), body: Bytes::new() }
}

/// Returns the header for one range.
pub(super) fn range_header(range: &Range<u64>) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
    value.ok().map(|value| (RANGE, value)).into_iter().collect()
}

/// Returns the version of a file: its ETag. A weak one does not tell versions apart.
pub(super) fn version(headers: &HeaderMap) -> Option<FileVersion> {
    let text = headers.get(ETAG)?.to_str().ok()?.trim();
    (!text.is_empty() && !text.starts_with("W/") && text.len() <= LONGEST_VERSION).then(|| FileVersion(text.to_owned()))
}
