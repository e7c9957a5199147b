//! Numbers, times and digests of a dump line.

use super::error::{DumpField, LineDefect};
use crate::digest::{Algorithm, Digest};
use crate::display::shown;
use crate::tree::Timestamp;

/// A number as `strtoull` reads it over the whole field: blanks and a sign before it, `-` wraps around, too large
/// a value is the largest. Real dumps hold such numbers, so the leniency is part of the format.
pub(super) fn number(field: DumpField, text: &[u8], base: u32) -> Result<u64, LineDefect> {
    let invalid = || {
        let rule = if base == 8 { "expected an octal number" } else { "expected a decimal number" };
        LineDefect::new(field, format!("Invalid integer {}", shown(text)), rule)
    };
    let blanks = text.iter().take_while(|b| matches!(b, b' ' | b'\t'..=b'\r')).count();
    let (negative, digits) = match text[blanks..].split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, &text[blanks..]),
    };
    if digits.is_empty() {
        return Err(invalid());
    }
    let mut value = Some(0u64);
    for &digit in digits {
        let digit = char::from(digit).to_digit(base).ok_or_else(invalid)?;
        value = value.and_then(|v| v.checked_mul(u64::from(base))?.checked_add(u64::from(digit)));
    }
    Ok(match value {
        Some(value) if negative => value.wrapping_neg(),
        Some(value) => value,
        None => u64::MAX,
    })
}

/// A number cut to 32 bits, as the reference does.
pub(super) fn number32(field: DumpField, text: &[u8]) -> Result<u32, LineDefect> {
    Ok(number(field, text, 10)? as u32)
}

/// `seconds.nanoseconds`: two integers, so `1.5` is one second and five nanoseconds.
pub(super) fn time(text: &[u8]) -> Result<Timestamp, LineDefect> {
    let dot = text.iter().position(|&b| b == b'.');
    let (sec, nsec) = match dot {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let rule = |defect: LineDefect| LineDefect { rule: "expected SECONDS.NANOSECONDS, two decimal numbers", ..defect };
    let sec = number(DumpField::Mtime, sec, 10).map_err(rule)?.cast_signed();
    let nsec = number(DumpField::Mtime, nsec, 10).map_err(rule)? as u32;
    Ok(Timestamp { sec, nsec })
}

/// The digest of a regular file. More digits than the algorithm has are passed over, fewer are not.
pub(super) fn digest(algorithm: Algorithm, text: &[u8]) -> Result<Digest, LineDefect> {
    let refuse = || {
        let rule = match algorithm {
            Algorithm::Sha256 => "expected 64 hex digits, or - for none",
            Algorithm::Sha512 => "expected 128 hex digits, or - for none",
        };
        LineDefect::new(DumpField::Digest, format!("Invalid digest {}", shown(text)), rule)
    };
    if text.len() == 2 * algorithm.digest_len() {
        return Digest::from_hex(text).map_err(|_| refuse());
    }
    if !text.iter().all(u8::is_ascii_hexdigit) {
        return Err(refuse());
    }
    if algorithm == Algorithm::Sha256 && text.len() == 2 * Algorithm::Sha512.digest_len() {
        let rule = "128 hex digits are a SHA-512 digest, and this dump is read as one of SHA-256 (--algorithm)";
        return Err(LineDefect::new(DumpField::Digest, format!("Invalid digest {}", shown(text)), rule));
    }
    text.get(..2 * algorithm.digest_len()).and_then(|hex| Digest::from_hex(hex).ok()).ok_or_else(refuse)
}
