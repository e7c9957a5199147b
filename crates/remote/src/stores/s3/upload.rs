//! Uploads files that do not exist yet: in one request, or in parts if they are large.

use std::io::Read as _;

use bytes::Bytes;
use libcomposefs_delivery::{CreateOutcome, FileName, NewContent, RemoteError, Sha256Digest};
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};
use rusty_s3::actions::{AbortMultipartUpload, CompleteMultipartUpload, CreateMultipartUpload, S3Action, UploadPart};
use sha2::{Digest as _, Sha256};

use super::{S3Store, VALIDITY, listing};
use crate::error::ErrorKind;
use crate::exchange::read_limited;
use crate::stores::failure::AccessStep;
use crate::stores::http_files::request;
use crate::transport::HttpRequest;

/// Bytes of a request. Each is in memory, in each thread that uploads.
const PART: u64 = 8 << 20;
/// The most parts of an upload.
const MOST_PARTS: u64 = 10_000;
/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 1 << 20;

impl S3Store {
    /// Uploads a file, if the bucket does not have it.
    pub(super) fn upload(&self, name: &FileName, content: &mut dyn NewContent) -> Result<CreateOutcome, RemoteError> {
        let step = self.files.step("write", name);
        let length = content.length();
        if length > PART * MOST_PARTS {
            return Err(step.error(format!("it has {length} bytes, and {} can be uploaded", PART * MOST_PARTS)));
        }
        content.rewind().map_err(|error| step.error(error.to_string()).caused_by(error))?;
        let mut hasher = Sha256::new();
        if length <= PART {
            let body = next_part(&step, content, length, &mut hasher)?;
            check_digest(&step, name, hasher)?;
            let condition = (IF_NONE_MATCH, HeaderValue::from_static("*"));
            let written = self.put("write", name, body, condition)?;
            return Ok(if written.is_some() { CreateOutcome::New } else { CreateOutcome::Existed });
        }
        let key = self.key(name);
        let id = self.begin(&step, &key)?;
        let result = self.send_parts(&step, name, content, &id);
        if !matches!(result, Ok(CreateOutcome::New)) {
            // The parts would be kept, and paid for.
            let abort = AbortMultipartUpload::new(&self.bucket, self.credentials.as_ref(), &key, &id).sign(VALIDITY);
            let _ = self.files.ask(&step, request(Method::DELETE, abort));
        }
        result
    }

    /// Begins an upload in parts, and returns its id.
    fn begin(&self, step: &AccessStep<'_>, key: &str) -> Result<String, RemoteError> {
        let url = CreateMultipartUpload::new(&self.bucket, self.credentials.as_ref(), key).sign(VALIDITY);
        let mut create = request(Method::POST, url);
        create.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let answer = self.files.ask(step, create)?;
        if !answer.status.is_success() {
            return Err(step.refused(answer));
        }
        let text = read_limited(answer.body, LONGEST_ANSWER).map_err(|trouble| step.failed(trouble.into_kind()))?;
        let id = listing::upload_id(&String::from_utf8_lossy(&text));
        id.ok_or_else(|| step.failed(ErrorKind::Protocol { reason: "an upload has no UploadId".to_owned() }))
    }

    fn send_parts(
        &self,
        step: &AccessStep<'_>,
        name: &FileName,
        content: &mut dyn NewContent,
        id: &str,
    ) -> Result<CreateOutcome, RemoteError> {
        let key = self.key(name);
        let mut hasher = Sha256::new();
        let (mut left, mut number, mut etags) = (content.length(), 1_u16, Vec::new());
        while left > 0 {
            let body = next_part(step, content, left.min(PART), &mut hasher)?;
            left -= body.len() as u64;
            let url = UploadPart::new(&self.bucket, self.credentials.as_ref(), &key, number, id).sign(VALIDITY);
            let answer = self.files.ask(step, HttpRequest { body, ..request(Method::PUT, url) })?;
            if !answer.status.is_success() {
                return Err(step.refused(answer));
            }
            let etag = answer.header(&ETAG).map(str::to_owned);
            etags.push(etag.ok_or_else(|| {
                step.failed(ErrorKind::Protocol { reason: "an uploaded part has no ETag".to_owned() })
            })?);
            number += 1;
        }
        check_digest(step, name, hasher)?;
        self.complete(step, &key, id, &etags)
    }

    /// Makes the parts a file, unless there is one.
    fn complete(
        &self,
        step: &AccessStep<'_>,
        key: &str,
        id: &str,
        etags: &[String],
    ) -> Result<CreateOutcome, RemoteError> {
        let etags = etags.iter().map(String::as_str);
        let complete = CompleteMultipartUpload::new(&self.bucket, self.credentials.as_ref(), key, id, etags);
        let url = complete.sign(VALIDITY);
        let mut request = HttpRequest { body: Bytes::from(complete.body()), ..request(Method::POST, url) };
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        request.headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        let answer = self.files.ask(step, request)?;
        match answer.status {
            StatusCode::PRECONDITION_FAILED => return Ok(CreateOutcome::Existed),
            StatusCode::CONFLICT => return Err(step.refused(answer).temporary(None)),
            status if !status.is_success() => return Err(step.refused(answer)),
            _ => {}
        }
        // The status is sent before the parts are joined: a failure after that is in the body.
        let text = read_limited(answer.body, LONGEST_ANSWER).map_err(|trouble| step.failed(trouble.into_kind()))?;
        let refusal = super::S3Refusal::parse(&text);
        match refusal.code {
            Some(code) => Err(step.error(format!("the server answers {code}")).temporary(None)),
            None => Ok(CreateOutcome::New),
        }
    }
}

/// Reads exactly the next `length` bytes.
fn next_part(
    step: &AccessStep<'_>,
    content: &mut dyn NewContent,
    length: u64,
    hasher: &mut Sha256,
) -> Result<Bytes, RemoteError> {
    let mut part = Vec::new();
    let read = content.take(length).read_to_end(&mut part);
    read.map_err(|error| step.error(error.to_string()).caused_by(error))?;
    if part.len() as u64 != length {
        return Err(step.error(format!("its content ends {} bytes early", length - part.len() as u64)));
    }
    hasher.update(&part);
    Ok(Bytes::from(part))
}

/// Refuses content that is not what the name says.
fn check_digest(step: &AccessStep<'_>, name: &FileName, hasher: Sha256) -> Result<(), RemoteError> {
    let found = Sha256Digest::new(hasher.finalize().into());
    match name.sha256() {
        Some(expected) if *expected != found => Err(step.error(format!("its content has the SHA-256 {found}"))),
        _ => Ok(()),
    }
}
