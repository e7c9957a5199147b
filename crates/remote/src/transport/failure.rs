//! Failures of connections and requests, by kind.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::CertificateError;

use super::pinned::is_authority;
use crate::printable::printable;

/// The longest reason in a message.
const LONGEST_REASON: usize = 400;

/// A failure below HTTP: there is no answer, or its body ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpFailure {
    pub(crate) kind: FailureKind,
    reason: String,
}

/// Kinds of failures that are treated differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// There is no connection: the name is unknown, or no server listens.
    Connect,
    /// The server does not speak TLS.
    NotTls,
    /// The server's certificate is not accepted, or the server refuses that of the client.
    Certificate,
    /// The connection was cut or stalled.
    Transfer,
    /// The answer is no HTTP, or the request cannot be sent.
    Protocol,
}

impl HttpFailure {
    /// Makes a failure after which a retry may help.
    pub(crate) fn transfer(reason: String) -> Self {
        Self { kind: FailureKind::Transfer, reason }
    }

    /// Makes the failure of a wait that ended by a flag or by the time limit.
    pub(super) fn unanswered(interrupt: Option<&AtomicBool>, limit: Duration) -> Self {
        let is_interrupted = interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed));
        let silent = || format!("the server sent nothing for {} s", limit.as_secs_f32());
        let reason = if is_interrupted { "interrupted".to_owned() } else { silent() };
        Self { kind: FailureKind::Transfer, reason }
    }

    /// Sorts an error of the HTTP library by the errors it was made from.
    pub(super) fn of(error: &reqwest::Error) -> Self {
        let mut reasons: Vec<String> = Vec::new();
        let mut kind = match () {
            () if error.is_connect() => FailureKind::Connect,
            () if error.is_builder() => FailureKind::Protocol,
            () => FailureKind::Transfer,
        };
        let mut next: Option<&(dyn StdError + 'static)> = error.source();
        // A chain of errors is short; the bound is for one that refers to itself.
        for _ in 0..16 {
            let Some(current) = next else { break };
            kind = kind_of(current).unwrap_or(kind);
            let text = reason_of(current);
            if !text.is_empty() && !reasons.iter().any(|reason| reason.contains(&text)) {
                reasons.push(text);
            }
            next = inner(current).or_else(|| current.source());
        }
        if reasons.is_empty() {
            reasons.push(error.to_string());
        }
        Self { kind, reason: printable(&reasons.join(": "), LONGEST_REASON) }
    }
}

/// Returns what an error says about the cause, in plain words; nothing for an error that only names a step of the
/// library.
fn reason_of(error: &(dyn StdError + 'static)) -> String {
    if let Some(rustls::Error::InvalidCertificate(refused)) = error.downcast_ref() {
        return certificate_reason(refused);
    }
    if inner(error).is_some() {
        // It has the text of the inner error, which comes next.
        return String::new();
    }
    let text = error.to_string();
    let is_step =
        text.starts_with("client error (") || ["tcp connect error", "error trying to connect"].contains(&&*text);
    let text = text.strip_prefix("dns error: ").unwrap_or(&text);
    let text = text.strip_prefix("error resolving DNS: ").unwrap_or(text);
    if is_step || ["dns error", "error resolving DNS"].contains(&text) { String::new() } else { text.to_owned() }
}

/// Returns the rule that a certificate breaks.
fn certificate_reason(refused: &CertificateError) -> String {
    let rule = match refused {
        refused if is_authority(refused) => {
            "it is the certificate of an authority, and not known as that of this server"
        }
        CertificateError::UnknownIssuer => "no known authority has issued it",
        CertificateError::Revoked => "its authority has revoked it",
        CertificateError::BadSignature => "its signature is wrong",
        CertificateError::BadEncoding => "it is malformed",
        other => return other.to_string(),
    };
    rule.to_owned()
}

/// The error inside an error of the kernel's kind, which is not its source.
fn inner<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    Some(inner)
}

fn kind_of(error: &(dyn StdError + 'static)) -> Option<FailureKind> {
    match error.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidMessage(_) => Some(FailureKind::NotTls),
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::AlertReceived(_)
        | rustls::Error::PeerIncompatible(_)
        | rustls::Error::InvalidCertRevocationList(_) => Some(FailureKind::Certificate),
        _ => None,
    }
}

impl fmt::Display for HttpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
