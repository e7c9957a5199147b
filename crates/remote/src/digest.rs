//! Digests of OCI content, in their text form `sha256:HEX`.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

const PREFIX: &str = "sha256:";
const HEX_DIGITS: usize = 64;

/// Digest of a manifest or a blob: `sha256:` and 64 lowercase hexadecimal digits.
///
/// The crate for OCI images has a type for such digests too, of 32 bytes. This one keeps the text, which is what the
/// protocol has everywhere, so that this crate needs no other crate of the workspace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryDigest(String);

/// The error of a text that is no supported digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no digest: it must be `sha256:` and 64 lowercase hexadecimal digits")]
pub struct DigestError {
    /// Text that was parsed; its beginning if it is long.
    pub text: String,
}

impl RegistryDigest {
    /// Computes the digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// Returns the digest of the bytes that were given to `hasher`.
    pub(crate) fn finish(hasher: Sha256) -> Self {
        let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{PREFIX}{hex}"))
    }

    /// Returns the text `sha256:HEX`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the hexadecimal digits without the algorithm.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.strip_prefix(PREFIX).unwrap_or_default()
    }
}

impl FromStr for RegistryDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let is_hex = |hex: &str| hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match text.strip_prefix(PREFIX) {
            Some(hex) if hex.len() == HEX_DIGITS && is_hex(hex) => Ok(Self(text.to_owned())),
            _ => Err(DigestError { text: text.chars().take(PREFIX.len() + HEX_DIGITS + 1).collect() }),
        }
    }
}

impl fmt::Display for RegistryDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RegistryDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_are_computed_and_parsed() {
        let digest = RegistryDigest::of(b"");
        assert_eq!(digest.as_str(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(digest));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "sha256:", &EMPTY[..70], &EMPTY.to_uppercase(), &EMPTY.replace("256", "512")] {
            assert!(text.parse::<RegistryDigest>().is_err(), "{text}");
        }
        assert!(format!("{EMPTY}0").parse::<RegistryDigest>().is_err());
    }
}
