//! The words of a kernel command line, and the digests of images in them (`docs/boot.md`).

use crate::digest::Digest;

/// The formats of `composefs.digest=FORMAT:HEX`, and the number of hex digits of their digests.
pub const DIGEST_FORMATS: [(&str, usize); 4] =
    [("v1-sha256-12", 64), ("v1-sha512-12", 128), ("v2-sha256-12", 64), ("v2-sha512-12", 128)];

/// Splits a line as the kernel does: at white space outside double quotes, which stay.
pub fn kernel_words(line: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let parts = line.split(move |character: char| {
        is_quoted ^= character == '"';
        !is_quoted && character.is_ascii_whitespace()
    });
    parts.filter(|word| !word.is_empty())
}

/// Splits off the `?` before a digest, which makes fs-verity optional.
#[must_use]
pub fn optional_digest(value: &str) -> (&str, bool) {
    value.strip_prefix('?').map_or((value, false), |value| (value, true))
}

/// Returns the digest of a word: in lowercase, and with the digits of its format, or with 64 or 128 without a format.
#[must_use]
pub fn word_digest(hex: &str, len: Option<usize>) -> Option<Digest> {
    let is_lower = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_long = len.map_or(matches!(hex.len(), 64 | 128), |len| hex.len() == len);
    hex.parse().ok().filter(|_| is_lower && is_long)
}
