//! Errors of accesses to remotes, in the words of the server that was asked.

use std::time::Duration;

use libcomposefs_delivery::{FileName, RemoteError};
use reqwest::StatusCode;

use super::body::BodyEnd;
use super::s3::S3Refusal;
use crate::error::{ErrorKind, Refusal};
use crate::exchange::{is_transient, read_limited};
use crate::transport::Answer;

/// An answer, or that there is no such file.
pub(super) type FoundFile<T> = Result<Option<T>, RemoteError>;

/// The longest refusal that is read.
const LONGEST_REFUSAL: u64 = 64 << 10;

/// Who is asked: refusals and remedies have different words.
#[derive(Clone, Debug)]
pub(super) enum Dialect {
    /// A web server; where its credentials are from, if there are any, and where they are looked for.
    Web { had_credentials: bool, searched: String },
    /// A server for S3; where its credentials are from, or where they were looked for.
    S3 { had_credentials: bool, searched: String },
    /// A registry, whose errors have their own words.
    Registry,
}

/// An access, for its errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccessStep<'a> {
    pub(super) location: &'a str,
    pub(super) dialect: &'a Dialect,
    /// A verb that fits between "cannot" and the name of the file.
    pub(super) verb: &'static str,
    pub(super) name: Option<&'a FileName>,
}

impl AccessStep<'_> {
    /// Makes an error with a reason.
    pub(super) fn error(&self, reason: impl Into<String>) -> RemoteError {
        let error = RemoteError::new(self.location, self.verb, reason);
        match self.name {
            Some(name) => error.of(name),
            None => error,
        }
    }

    /// Makes the error of a request that failed.
    pub(super) fn failed(&self, kind: ErrorKind) -> RemoteError {
        match kind {
            ErrorKind::Transfer { reason, .. } => self.error(reason).temporary(None),
            ErrorKind::MustWait { seconds, refusal, .. } => {
                let reason = format!("the server asks to wait {seconds} s ({refusal})");
                self.error(reason).temporary(Some(Duration::from_secs(seconds)))
            }
            ErrorKind::Status(refusal) if is_transient_number(refusal.status) => {
                self.error(format!("the server answers {refusal}")).temporary(None)
            }
            kind if matches!(self.dialect, Dialect::Registry) => self.error(kind.to_string()),
            ErrorKind::Connect { reason } => {
                self.error(reason).remedy("check the host of the URL, the network and the proxy settings")
            }
            ErrorKind::NotTls { reason } => self
                .error(format!("the server does not speak TLS ({reason})"))
                .remedy("check the host and the port of the URL"),
            ErrorKind::Certificate { server, reason } => {
                let remedy = "set SSL_CERT_FILE to a file with the certificate of its authority in PEM form";
                self.error(format!("the certificate of {server} is not accepted: {reason}")).remedy(remedy)
            }
            ErrorKind::Redirect { target, reason } => {
                self.error(format!("the server redirects to {target}, which is refused: {reason}"))
            }
            ErrorKind::Protocol { reason } => self.error(format!("the answer of the server is not valid: {reason}")),
            ErrorKind::Range { size } => {
                let size = size.map(|size| format!(", which has {size} bytes")).unwrap_or_default();
                let remedy = "the file is shorter than the ref or the index says: push the image again";
                self.error(format!("the requested range is outside the file{size}")).remedy(remedy)
            }
            ErrorKind::TooLong { limit } => self.error(format!("it has more than {limit} bytes")),
            other => self.error(other.to_string()),
        }
    }

    /// Makes the error of an attempt after which a retry may help.
    pub(super) fn temporary(&self, kind: ErrorKind, asked: Duration) -> RemoteError {
        let reason = match kind {
            ErrorKind::Transfer { reason, .. } => reason,
            ErrorKind::Status(refusal) => format!("the server answers {refusal}"),
            other => other.to_string(),
        };
        self.error(reason).temporary(pause(asked))
    }

    /// Makes the error of a body that did not arrive.
    pub(super) fn body_failed(&self, end: BodyEnd) -> RemoteError {
        match end {
            BodyEnd::Whole => self.error("the answer ended early").temporary(None),
            BodyEnd::Cut(reason) => self.error(reason).temporary(None),
            BodyEnd::TooLong(limit) => self.failed(ErrorKind::TooLong { limit }),
            BodyEnd::Receiver(error) => self.error(error.to_string()).caused_by(error),
        }
    }

    /// Judges an answer that says that there is no such file.
    pub(super) fn missing<T>(&self, answer: Answer) -> FoundFile<T> {
        if !matches!(self.dialect, Dialect::S3 { .. }) {
            return Ok(None);
        }
        let refusal = read_refusal(answer);
        match refusal.code.as_deref() {
            Some("NoSuchBucket") => Err(self
                .error(format!("the server has no such bucket ({refusal})"))
                .remedy("make the bucket, or check its name, the region and the endpoint")),
            _ => Ok(None),
        }
    }

    /// Makes the error of an answer that is no success.
    pub(super) fn refused(&self, answer: Answer) -> RemoteError {
        let status = answer.status;
        let region = answer.headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
        let region = region.map(|region| crate::printable::printable(region, 40));
        let refusal = read_refusal(answer);
        let error = self.error(format!("the server answers {refusal}"));
        let is_denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        match (self.dialect, region) {
            _ if is_transient(status) => error.temporary(None),
            (Dialect::S3 { .. }, Some(region)) if status.is_redirection() || status == StatusCode::BAD_REQUEST => {
                error.remedy(format!("the bucket is in the region {region}: set AWS_REGION={region}"))
            }
            (Dialect::Web { had_credentials, searched }, _) if is_denied => {
                let state = if *had_credentials { "it refuses the credentials of" } else { "no credentials for it in" };
                error.remedy(format!(
                    "{state} {searched}; credentials are a line `machine HOST login USER password PASSWORD` there"
                ))
            }
            (Dialect::S3 { had_credentials, searched }, _) if is_denied => {
                let state = if *had_credentials { "the credentials are from" } else { "no credentials in" };
                error.remedy(format!("{state} {searched}; check the key and its rights for the bucket"))
            }
            (Dialect::S3 { .. }, _) if status == StatusCode::NOT_IMPLEMENTED => error.remedy(
                "the server has no conditional writes (If-None-Match, If-Match), which a remote needs: use a newer one",
            ),
            _ => error,
        }
    }
}

fn is_transient_number(status: u16) -> bool {
    StatusCode::from_u16(status).is_ok_and(is_transient)
}

/// Reads the code and the message of a refusal.
fn read_refusal(answer: Answer) -> Refusal {
    let status = answer.status.as_u16();
    // The status alone is enough for a message.
    let text = read_limited(answer.body, LONGEST_REFUSAL).unwrap_or_default();
    let S3Refusal { code, message } = S3Refusal::parse(&text);
    Refusal { status, code, message }
}

/// The pause that a server asks for; none if it asks for nothing.
pub(super) fn pause(asked: Duration) -> Option<Duration> {
    (!asked.is_zero()).then_some(asked)
}
