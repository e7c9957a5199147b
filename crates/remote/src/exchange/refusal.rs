//! Reads answers that are no success: the codes and messages of registries.

use reqwest::StatusCode;

use super::hosts::Trouble;
use crate::error::{ErrorKind, Refusal};
use crate::transport::{Answer, AnswerBody};
use crate::wire::parse_refusal;

/// The longest answer with a message that is read.
const LONGEST: u64 = 64 << 10;

/// Reports whether the same request may succeed later.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Reads the registry's code and message, if there are any.
pub(crate) fn of(answer: Answer) -> Refusal {
    let status = answer.status.as_u16();
    // The status alone is enough for a message.
    let text = read_limited(answer.body, LONGEST).unwrap_or_default();
    let (code, message) = parse_refusal(&text);
    Refusal { status, code, message }
}

/// Reads a body of at most `limit` bytes.
pub(crate) fn read_limited(mut body: AnswerBody, limit: u64) -> Result<Vec<u8>, Trouble> {
    if body.announced().is_some_and(|length| length > limit) {
        return Err(ErrorKind::TooLong { limit }.into());
    }
    let mut text = Vec::new();
    while let Some(chunk) = body.chunk().map_err(Trouble::HttpFailure)? {
        if text.len() as u64 + chunk.len() as u64 > limit {
            return Err(ErrorKind::TooLong { limit }.into());
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}
