//! A digest with the name of its algorithm, as in `fsverity-sha256-12:9a2b…`.

use libcomposefs_image::{Algorithm, Digest};

/// Base-2 logarithm of the block size of every digest.
const LOG_BLOCK_SIZE: u32 = 12;

/// Reads a digest with its algorithm.
pub(crate) fn parse(text: &str) -> Option<Digest> {
    let (name, hex) = text.split_once(':')?;
    let digest = Digest::from_hex(hex).ok()?;
    // The hex digits may be upper case for `from_hex`; a statement has one spelling.
    (format(&digest) == text && name == prefix(digest.algorithm())).then_some(digest)
}

/// Writes a digest with its algorithm.
pub(crate) fn format(digest: &Digest) -> String {
    format!("{}:{}", prefix(digest.algorithm()), digest.to_hex())
}

fn prefix(algorithm: Algorithm) -> String {
    format!("fsverity-{}-{LOG_BLOCK_SIZE}", algorithm.name())
}
