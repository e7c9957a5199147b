//! Reads blobs as streams that resume after a cut connection.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};
use sha2::{Digest as _, Sha256};

use super::{Access, RemoteRepository};
use crate::digest::RegistryDigest;
use crate::error::{Error, ErrorKind};
use crate::exchange::Call;
use crate::printable::printable;
use crate::retry::Backoff;
use crate::transport::{Answer, AnswerBody, HttpFailure};
use crate::wire::ContentRange;

/// Received bytes after which the retries are counted anew.
const PROGRESS: u64 = 1 << 20;

/// Stream of a blob's bytes.
///
/// When a connection is cut, the stream continues where it was. A stream from the beginning of the blob checks the
/// digest: the last bytes are returned only if all are right. A stream from another offset does not check it.
#[derive(Debug)]
pub struct BlobReader {
    repository: RemoteRepository,
    digest: RegistryDigest,
    call: Call,
    size: u64,
    /// Offset of the next byte from the network.
    position: u64,
    hasher: Option<Sha256>,
    body: Option<AnswerBody>,
    /// Bytes before `position` that the body repeats.
    skip: u64,
    pending: Bytes,
    backoff: Backoff,
    since_reset: u64,
    has_failed: bool,
}

impl RemoteRepository {
    /// Opens a blob of `size` bytes as a stream that begins at `from_offset`.
    ///
    /// # Errors
    ///
    /// If the registry does not have the blob, if it announces another size, or if the connection fails. Later failures
    /// are errors of the stream.
    pub fn blob(&self, digest: &RegistryDigest, size: u64, from_offset: u64) -> Result<BlobReader, Error> {
        let mut reader = self.reader(digest, size, from_offset);
        if from_offset > size {
            return Err(Error::new(&reader.call.subject, ErrorKind::Range { size: Some(size) }));
        }
        if from_offset == size {
            reader.check_end()?;
        } else {
            reader.open()?;
        }
        Ok(reader)
    }

    /// Makes a stream of a whole blob that an answer began.
    pub(super) fn blob_of(&self, digest: &RegistryDigest, size: u64, answer: Answer) -> Result<BlobReader, Error> {
        let mut reader = self.reader(digest, size, 0);
        reader.begin(answer)?;
        Ok(reader)
    }

    pub(crate) fn blob_call(&self, digest: &RegistryDigest) -> Call {
        self.call(Access::Pull, Method::GET, &format!("blobs/{digest}"), "get the blob", digest.as_str())
    }

    fn reader(&self, digest: &RegistryDigest, size: u64, from_offset: u64) -> BlobReader {
        BlobReader {
            repository: self.clone(),
            digest: digest.clone(),
            call: self.blob_call(digest),
            size,
            position: from_offset,
            hasher: (from_offset == 0).then(Sha256::new),
            body: None,
            skip: 0,
            pending: Bytes::new(),
            backoff: self.exchange.backoff(),
            since_reset: 0,
            has_failed: false,
        }
    }
}

impl BlobReader {
    /// Leaves the check of the digest to the caller.
    #[must_use]
    pub fn unverified(mut self) -> Self {
        self.hasher = None;
        self
    }

    /// Returns the digest of the blob.
    #[must_use]
    pub fn digest(&self) -> &RegistryDigest {
        &self.digest
    }

    /// Returns the size of the whole blob.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Requests the bytes from the position on.
    fn open(&mut self) -> Result<(), Error> {
        self.call.headers.remove(RANGE);
        if self.position > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.position));
            self.call.headers.extend(range.ok().map(|range| (RANGE, range)));
        }
        let answer = self.repository.exchange.send(&self.call, &mut self.backoff)?;
        self.begin(answer)
    }

    /// Begins to read the body of an answer.
    fn begin(&mut self, answer: Answer) -> Result<(), Error> {
        let announced = answer.body.announced();
        let (first, total) = match answer.status {
            StatusCode::OK => (0, announced),
            StatusCode::PARTIAL_CONTENT => {
                let range = content_range(&answer).map_err(|reason| self.failed(ErrorKind::Protocol { reason }))?;
                let is_exact = range.first == self.position && range.end == range.total.unwrap_or(range.end);
                if !is_exact {
                    let (first, end) = (range.first, range.end);
                    let reason = format!("bytes {first} to {end} instead of those from {}", self.position);
                    return Err(self.failed(ErrorKind::Protocol { reason }));
                }
                (range.first, Some(range.total.unwrap_or(range.end)))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => return Err(self.failed(out_of_range(&answer))),
            _ => return Err(self.repository.exchange.refuse(&self.call, answer)),
        };
        if let Some(found) = total.filter(|total| *total != self.size) {
            return Err(self.failed(ErrorKind::Size { expected: self.size, found }));
        }
        self.skip = self.position - first;
        self.body = Some(answer.body);
        Ok(())
    }

    /// Gets the next bytes into `pending`; none at the end of the blob.
    fn fill(&mut self) -> Result<(), Error> {
        while self.pending.is_empty() && self.position < self.size {
            let Some(body) = &mut self.body else {
                self.open()?;
                continue;
            };
            match body.chunk() {
                Ok(Some(chunk)) => self.accept(chunk)?,
                Ok(None) => self.retry("the answer ended early")?,
                Err(failure) => self.retry(&failure.to_string())?,
            }
        }
        Ok(())
    }

    fn accept(&mut self, mut chunk: Bytes) -> Result<(), Error> {
        let skipped = self.skip.min(chunk.len() as u64);
        chunk.advance(usize::try_from(skipped).unwrap_or(chunk.len()));
        self.skip -= skipped;
        let length = chunk.len() as u64;
        if length > self.size - self.position {
            return Err(self.failed(ErrorKind::TooLong { limit: self.size }));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
        }
        self.position += length;
        self.since_reset += length;
        if self.since_reset >= PROGRESS {
            self.since_reset = 0;
            self.backoff.reset();
        }
        self.repository.exchange.progress().received(&self.digest, length);
        if self.position == self.size {
            self.check_end()?;
        }
        self.pending = chunk;
        Ok(())
    }

    /// Checks that the body has no further bytes, and the digest.
    fn check_end(&mut self) -> Result<(), Error> {
        if let Some(mut body) = self.body.take() {
            // A body with an announced length ends there. A failure after the last byte does not matter.
            let has_more =
                |chunk: Result<Option<Bytes>, HttpFailure>| matches!(chunk, Ok(Some(bytes)) if !bytes.is_empty());
            if body.announced().is_none() && has_more(body.chunk()) {
                return Err(self.failed(ErrorKind::TooLong { limit: self.size }));
            }
        }
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = RegistryDigest::finish(hasher);
        if found == self.digest {
            return Ok(());
        }
        Err(self.failed(ErrorKind::Digest { expected: self.digest.clone(), found }))
    }

    fn retry(&mut self, reason: &str) -> Result<(), Error> {
        self.body = None;
        if self.repository.exchange.pause(&mut self.backoff, reason, Duration::ZERO) {
            return Ok(());
        }
        let (retries, reason) = (self.backoff.used(), reason.to_owned());
        Err(self.failed(ErrorKind::Transfer { retries, reason }))
    }

    fn failed(&self, kind: ErrorKind) -> Error {
        Error::new(&self.call.subject, kind)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.has_failed {
            return Err(io::Error::other("the blob cannot be read any further: it failed before"));
        }
        if let Err(error) = self.fill() {
            self.has_failed = true;
            return Err(error.into());
        }
        let length = buffer.len().min(self.pending.len());
        let (target, bytes) = (buffer.get_mut(..length), self.pending.split_to(length));
        if let Some(target) = target {
            target.copy_from_slice(&bytes);
        }
        Ok(length)
    }
}

/// Returns the range of an answer with a part of a blob.
pub(super) fn content_range(answer: &Answer) -> Result<ContentRange, String> {
    let text = answer.header(&CONTENT_RANGE).ok_or("an answer with a part has no Content-Range")?;
    ContentRange::parse(text).ok_or_else(|| format!("the Content-Range {:?} is not valid", printable(text, 100)))
}

/// Makes the error of a range that the registry cannot satisfy.
pub(super) fn out_of_range(answer: &Answer) -> ErrorKind {
    let size = answer.header(&CONTENT_RANGE).and_then(|text| text.trim().strip_prefix("bytes */")?.parse().ok());
    ErrorKind::Range { size }
}
