//! Uploads blobs: in one request if they are small, otherwise in pieces that can be resumed.

use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, StatusCode, Url};
use sha2::{Digest as _, Sha256};

use super::{Access, RemoteRepository};
use crate::digest::RegistryDigest;
use crate::error::{Error, ErrorKind};
use crate::exchange::{Attempt, Call, resolve};
use crate::reference;
use crate::retry::Backoff;
use crate::transport::Answer;

const SHORTEST_PIECE: HeaderName = HeaderName::from_static("oci-chunk-min-length");
/// The longest piece that a registry may ask for.
const LONGEST_PIECE: usize = 64 << 20;

/// Bytes of a blob to upload. They may be read again from the beginning when an upload has to start again.
pub trait BlobSource {
    /// Opens the bytes from the beginning.
    ///
    /// # Errors
    ///
    /// If the bytes cannot be opened.
    fn open(&self) -> io::Result<Box<dyn Read + '_>>;
}

impl<F, R> BlobSource for F
where
    F: Fn() -> io::Result<R>,
    R: Read + 'static,
{
    fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self()?))
    }
}

impl BlobSource for [u8] {
    fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self))
    }
}

/// Result of an attempt to use a blob of another repository of the same registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mount {
    /// The blob exists in this repository now.
    Mounted,
    /// The registry cannot mount the blob: it has to be uploaded.
    Refused,
}

/// An upload that the registry has begun.
struct Upload<'a> {
    repository: &'a RemoteRepository,
    digest: &'a RegistryDigest,
    size: u64,
    url: Url,
    piece: usize,
    backoff: &'a mut Backoff,
}

/// The end of an attempt to upload.
enum UploadEnd {
    Stored,
    /// The registry has forgotten the upload: it starts again.
    Lost(ErrorKind),
}

impl RemoteRepository {
    /// Uploads a blob of `size` bytes.
    ///
    /// # Errors
    ///
    /// If the registry refuses it, if the connection fails again after the retries, or if the source fails or has other
    /// bytes than the digest says.
    pub fn upload_blob(
        &self,
        digest: &RegistryDigest,
        size: u64,
        source: &(impl BlobSource + ?Sized),
    ) -> Result<(), Error> {
        let mut backoff = self.exchange.backoff();
        // Progress is no reason to start again more often: an upload may be cut each time at the same place.
        let mut starts = self.exchange.backoff();
        let subject = self.subject("upload the blob", digest.as_str());
        loop {
            let call = self.upload_call(digest, Method::POST);
            let answer = self.exchange.send(&call, &mut backoff)?;
            if answer.status != StatusCode::ACCEPTED {
                return Err(self.exchange.refuse(&call, answer));
            }
            let url = location(&answer, &call.url).map_err(|kind| Error::new(&subject, kind))?;
            let piece = self.piece(&answer);
            let upload = Upload { repository: self, digest, size, url, piece, backoff: &mut backoff };
            let reader = source.open().map_err(|error| Error::new(&subject, ErrorKind::Local(error)))?;
            match upload.run(reader.take(size))? {
                UploadEnd::Stored => return Ok(()),
                UploadEnd::Lost(kind) => {
                    if !self.exchange.pause(&mut starts, &kind.to_string(), Duration::ZERO) {
                        return Err(Error::new(&subject, kind.given_up_after(starts.used())));
                    }
                }
            }
        }
    }

    /// Makes a blob of the repository `from` of the same registry available in this one, without a transfer.
    ///
    /// # Errors
    ///
    /// If the registry gives another answer than yes or no.
    pub fn mount_blob(&self, digest: &RegistryDigest, from: &str) -> Result<Mount, Error> {
        let mut call = self.upload_call(digest, Method::POST);
        call.subject.action = "mount the blob";
        if !reference::is_path(from) {
            let reason = "the other repository is no well-formed path".to_owned();
            return Err(Error::new(&call.subject, ErrorKind::Invalid(reason)));
        }
        call.url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
        call.target.scopes.push(format!("repository:{from}:pull"));
        let answer = self.exchange.send(&call, &mut self.exchange.backoff())?;
        match answer.status {
            StatusCode::CREATED => Ok(Mount::Mounted),
            StatusCode::ACCEPTED => {
                // The registry has begun an upload instead. It would end by itself some day.
                if let Ok(url) = location(&answer, &call.url) {
                    let cancel = Call { method: Method::DELETE, url, ..self.upload_call(digest, Method::DELETE) };
                    let _ = self.exchange.attempt(&cancel);
                }
                Ok(Mount::Refused)
            }
            _ => Err(self.exchange.refuse(&call, answer)),
        }
    }

    fn upload_call(&self, digest: &RegistryDigest, method: Method) -> Call {
        self.call(Access::Push, method, "blobs/uploads/", "upload the blob", digest.as_str())
    }

    /// Returns the length of the pieces: that of the options, unless the registry wants longer ones.
    fn piece(&self, answer: &Answer) -> usize {
        let asked = answer.header(&SHORTEST_PIECE).and_then(|value| value.trim().parse().ok()).unwrap_or(0);
        self.exchange.options().upload_piece.max(asked).clamp(1, LONGEST_PIECE)
    }
}

impl Upload<'_> {
    fn run(mut self, mut reader: impl Read) -> Result<UploadEnd, Error> {
        let mut hasher = Sha256::new();
        let mut at = 0;
        let mut last = Bytes::new();
        let is_small = self.size <= self.piece as u64;
        while at < self.size {
            let piece = self.read(&mut reader, self.size - at)?;
            hasher.update(&piece);
            at += piece.len() as u64;
            if is_small {
                last = piece;
            } else if let Some(lost) = self.send(at - piece.len() as u64, piece)? {
                return Ok(UploadEnd::Lost(lost));
            }
        }
        let found = RegistryDigest::finish(hasher);
        if found != *self.digest {
            return Err(self.failed(ErrorKind::Digest { expected: self.digest.clone(), found }));
        }
        self.finish(last)
    }

    /// Reads the next piece of the source.
    fn read(&self, reader: &mut impl Read, left: u64) -> Result<Bytes, Error> {
        let length = left.min(self.piece as u64);
        let mut piece = Vec::new();
        let read = reader.take(length).read_to_end(&mut piece);
        let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the source has fewer bytes than announced");
        match read {
            Ok(_) if piece.len() as u64 == length => Ok(Bytes::from(piece)),
            Ok(_) => Err(self.failed(ErrorKind::Local(short()))),
            Err(error) => Err(self.failed(ErrorKind::Local(error))),
        }
    }

    /// Sends the piece at `start`, and the rest of it again after a failure. Returns why the upload is lost, if it is.
    fn send(&mut self, start: u64, piece: Bytes) -> Result<Option<ErrorKind>, Error> {
        let end = start + piece.len() as u64;
        let mut at = start;
        while at < end {
            let rest = piece.slice(usize::try_from(at - start).unwrap_or(piece.len())..);
            let mut call = self.call(Method::PATCH);
            // Other than in HTTP, there is no unit before the numbers.
            let range = HeaderValue::from_str(&format!("{at}-{}", end - 1));
            call.headers.extend(range.ok().map(|range| (CONTENT_RANGE, range)));
            call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            call.body = rest;
            let (reason, asked, kind) = match self.repository.exchange.attempt(&call)? {
                Attempt::Done(answer) if answer.status.is_success() => {
                    self.url = location(&answer, &self.url).map_err(|kind| self.failed(kind))?;
                    let stored = stored(&answer).unwrap_or(end);
                    if !(at..=end).contains(&stored) || stored == at {
                        let reason = format!("it has {stored} bytes after bytes {at} to {end} were sent");
                        return Err(self.failed(ErrorKind::Protocol { reason }));
                    }
                    self.sent(stored - at);
                    at = stored;
                    continue;
                }
                Attempt::Done(answer) if answer.status == StatusCode::RANGE_NOT_SATISFIABLE => {
                    let reason = "the registry has another part of the blob than was sent".to_owned();
                    (reason.clone(), Duration::ZERO, ErrorKind::Protocol { reason })
                }
                Attempt::Done(answer) if answer.status == StatusCode::NOT_FOUND => {
                    return Ok(Some(self.repository.exchange.refuse(&call, answer).into_kind()));
                }
                Attempt::Done(answer) => return Err(self.repository.exchange.refuse(&call, answer)),
                Attempt::Failed { reason, asked, kind } => (reason, asked, kind),
            };
            if !self.repository.exchange.pause(self.backoff, &reason, asked) {
                return Err(self.failed(kind.after(self.backoff.used())));
            }
            match self.status()? {
                Some(stored) if (at..=end).contains(&stored) => {
                    self.sent(stored - at);
                    at = stored;
                }
                _ => return Ok(Some(kind)),
            }
        }
        Ok(None)
    }

    /// Asks how many bytes the registry has; `None` if it does not know the upload.
    fn status(&mut self) -> Result<Option<u64>, Error> {
        let call = self.call(Method::GET);
        let answer = self.repository.exchange.send(&call, self.backoff)?;
        if answer.status != StatusCode::NO_CONTENT {
            return Ok(None);
        }
        // Without a new location the old one stays valid.
        self.url = location(&answer, &self.url).unwrap_or_else(|_| self.url.clone());
        Ok(stored(&answer))
    }

    /// Ends the upload, with the whole blob if nothing was sent before.
    fn finish(mut self, body: Bytes) -> Result<UploadEnd, Error> {
        let mut call = self.call(Method::PUT);
        call.url.query_pairs_mut().append_pair("digest", self.digest.as_str());
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let length = body.len() as u64;
        call.body = body;
        match self.repository.exchange.attempt(&call)? {
            Attempt::Done(answer) if answer.status.is_success() => {
                self.sent(length);
                Ok(UploadEnd::Stored)
            }
            Attempt::Done(answer) if answer.status == StatusCode::NOT_FOUND => {
                Ok(UploadEnd::Lost(self.repository.exchange.refuse(&call, answer).into_kind()))
            }
            Attempt::Done(answer) => Err(self.repository.exchange.refuse(&call, answer)),
            // The answer may be lost, but not the blob.
            Attempt::Failed { .. } if self.repository.blob_exists(self.digest)? => Ok(UploadEnd::Stored),
            Attempt::Failed { asked, kind, .. } => {
                if !asked.is_zero() && !self.repository.exchange.pause(self.backoff, &kind.to_string(), asked) {
                    return Err(self.failed(kind));
                }
                Ok(UploadEnd::Lost(kind))
            }
        }
    }

    fn call(&self, method: Method) -> Call {
        Call { url: self.url.clone(), ..self.repository.upload_call(self.digest, method) }
    }

    /// Counts confirmed bytes: they are progress.
    fn sent(&mut self, bytes: u64) {
        if bytes > 0 {
            self.backoff.reset();
            self.repository.exchange.progress().sent(self.digest, bytes);
        }
    }

    fn failed(&self, kind: ErrorKind) -> Error {
        Error::new(&self.repository.subject("upload the blob", self.digest.as_str()), kind)
    }
}

/// Returns the URL for the next request of an upload. Its query belongs to the registry.
fn location(answer: &Answer, base: &Url) -> Result<Url, ErrorKind> {
    let target = answer.header(&LOCATION);
    let target = target.ok_or_else(|| ErrorKind::Protocol { reason: "an upload has no Location".to_owned() })?;
    resolve(base, target)
}

/// Returns how many bytes the registry has, by `Range: 0-LAST`.
fn stored(answer: &Answer) -> Option<u64> {
    let (first, last) = answer.header(&RANGE)?.trim().trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.parse().ok()?;
    // An empty upload has `0-0`, as one with a single byte has. Pieces are longer.
    if first != "0" {
        None
    } else if last == 0 {
        Some(0)
    } else {
        last.checked_add(1)
    }
}
