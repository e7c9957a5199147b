//! Escapes: `\\`, `\n`, `\r`, `\t` and `\xHH`.

use std::borrow::Cow;

use super::error::{DumpField, LineDefect};
use crate::digest::{HEX_DIGITS, hex_value};
use crate::display::shown;

/// The bytes an escaped field stands for. A field without a backslash is not copied.
pub(super) fn unescape(field: DumpField, text: &[u8]) -> Result<Cow<'_, [u8]>, LineDefect> {
    let Some(first) = memchr::memchr(b'\\', text) else { return Ok(Cow::Borrowed(text)) };
    let mut bytes = text[..first].to_vec();
    let mut rest = text[first..].iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'\\') => b'\\',
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'x') => hex_escape(field, rest.next(), rest.next())?,
            Some(other) => {
                let message = format!("Unsupported escape type {}", shown(&[other]));
                return Err(LineDefect::new(field, message, "the escapes are \\\\, \\n, \\r, \\t and \\xHH"));
            }
            None => return Err(LineDefect::new(field, "No character after escape", "a backslash is written \\\\")),
        });
    }
    Ok(Cow::Owned(bytes))
}

fn hex_escape(field: DumpField, high: Option<u8>, low: Option<u8>) -> Result<u8, LineDefect> {
    const RULE: &str = "\\x takes two hex digits";
    let (Some(high), Some(low)) = (high, low) else {
        return Err(LineDefect::new(field, "No hex characters after hex escape", RULE));
    };
    match (hex_value(high), hex_value(low)) {
        (Some(high), Some(low)) => Ok(high << 4 | low),
        _ => Err(LineDefect::new(field, "Invalid hex characters after hex escape", RULE)),
    }
}

/// Like [`unescape`], for fields that end at a NUL (paths, payloads, xattr names).
pub(super) fn unescape_to_nul(field: DumpField, text: &[u8]) -> Result<Cow<'_, [u8]>, LineDefect> {
    let mut bytes = unescape(field, text)?;
    if let Some(nul) = memchr::memchr(0, &bytes) {
        bytes.to_mut().truncate(nul);
    }
    Ok(bytes)
}

/// The bytes that must be escaped in a field beside the usual ones, or that need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Also {
    /// No other bytes.
    Nothing,
    /// Nothing, and spaces may stay: for a text that is no field of a dump.
    NotSpaces,
    /// `=`, which parts the name of an attribute from its value.
    Equals,
    /// A text that is only `-`, which would read as "not set".
    LoneDash,
}

/// Appends the bytes so that they parse back to themselves: everything but graphic ASCII is escaped.
pub fn escape(bytes: &[u8], also: Also, text: &mut Vec<u8>) {
    if also == Also::LoneDash && bytes == b"-" {
        text.extend_from_slice(b"\\x2d");
        return;
    }
    for &byte in bytes {
        match byte {
            b'\\' => text.extend_from_slice(b"\\\\"),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            b'=' if also == Also::Equals => text.extend_from_slice(b"\\x3d"),
            b' ' if also == Also::NotSpaces => text.push(byte),
            b'!'..=b'~' => text.push(byte),
            _ => {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                text.extend_from_slice(&[b'\\', b'x', HEX_DIGITS[high], HEX_DIGITS[low]]);
            }
        }
    }
}
