//! A digest with the name of its algorithm, as in `fsverity-sha256-12:9a2b…`.

use libcomposefs_image::Digest;

/// Reads a digest with its algorithm.
pub(crate) fn parse(text: &str) -> Option<Digest> {
    let (_, hex) = text.split_once(':')?;
    let digest = Digest::from_hex(hex).ok()?;
    // The hex digits may be upper case for `from_hex`; a statement has one spelling.
    (format(&digest) == text).then_some(digest)
}

/// Writes a digest with its algorithm.
pub(crate) fn format(digest: &Digest) -> String {
    format!("{}:{}", digest.algorithm().verity_name(), digest.to_hex())
}
