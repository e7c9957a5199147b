//! Reads answers that are no success: the codes and messages of registries.

use reqwest::StatusCode;
use serde::Deserialize;

use super::hosts::Trouble;
use crate::error::{ErrorKind, Refusal};
use crate::printable::printable;
use crate::transport::{Answer, AnswerBody};

/// The longest answer with a message that is read.
const LONGEST: u64 = 64 << 10;

#[derive(Deserialize)]
struct ErrorsJson {
    #[serde(default)]
    errors: Vec<OneErrorJson>,
    /// Message of authorization servers.
    details: Option<String>,
}

#[derive(Deserialize)]
struct OneErrorJson {
    code: Option<String>,
    message: Option<String>,
}

/// Reports whether the same request may succeed later.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Reads the registry's code and message, if there are any.
pub(crate) fn of(answer: Answer) -> Refusal {
    let status = answer.status.as_u16();
    // The status alone is enough for a message.
    let text = read_limited(answer.body, LONGEST).unwrap_or_default();
    let (code, message) = parse(&text);
    Refusal { status, code, message }
}

/// Parses the body of a refusal into code and message, both safe to print.
pub(crate) fn parse(text: &[u8]) -> (Option<String>, Option<String>) {
    let Ok(errors) = serde_json::from_slice::<ErrorsJson>(text) else { return (None, None) };
    let Some(first) = errors.errors.first() else {
        return (None, errors.details.map(|details| printable(&details, 300)));
    };
    let of = |text: &Option<String>, limit| text.as_ref().map(|text| printable(text, limit));
    (of(&first.code, 60), of(&first.message, 300))
}

/// Reads a body of at most `limit` bytes.
pub(crate) fn read_limited(mut body: AnswerBody, limit: u64) -> Result<Vec<u8>, Trouble> {
    if body.announced().is_some_and(|length| length > limit) {
        return Err(ErrorKind::TooLong { limit }.into());
    }
    let mut text = Vec::new();
    while let Some(chunk) = body.chunk().map_err(Trouble::Failure)? {
        if text.len() as u64 + chunk.len() as u64 > limit {
            return Err(ErrorKind::TooLong { limit }.into());
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn messages_are_short_and_plain() {
        let text =
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\u001b[2J unknown","detail":{"a":1}}]}"#;
        let (code, message) = parse(text);
        assert_eq!(code.as_deref(), Some("MANIFEST_UNKNOWN"));
        assert_eq!(message.as_deref(), Some("manifest\\u{1b}[2J unknown"));
        let long = format!(r#"{{"errors":[{{"code":"{0}","message":"{0}"}}]}}"#, "x".repeat(1000));
        let (code, message) = parse(long.as_bytes());
        assert_eq!((code.map(|code| code.len()), message.map(|message| message.len())), (Some(63), Some(303)));
        assert_eq!(
            parse(br#"{"details":"incorrect username or password"}"#).1.as_deref(),
            Some("incorrect username or password")
        );
        for other in [&b""[..], b"<html>", b"{}", b"{\"errors\":[]}", b"[]"] {
            assert_eq!(parse(other), (None, None));
        }
    }
}
