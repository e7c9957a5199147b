//! Keys of Ed25519 that sign commits of ostree.

use std::fmt;

#[cfg(feature = "pkcs7")]
use base64::Engine as _;
#[cfg(feature = "pkcs7")]
use base64::engine::general_purpose::STANDARD;
#[cfg(feature = "pkcs7")]
use ed25519_dalek::{Signature, VerifyingKey};

/// Greatest number of signatures that are looked at.
#[cfg(feature = "pkcs7")]
const SIGNATURES_MAX: usize = 128;

/// A public key that signs commits, as `ostree sign --sign-type=ed25519` has it: 32 bytes in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitKey(#[cfg(feature = "pkcs7")] VerifyingKey, #[cfg(not(feature = "pkcs7"))] String);

/// In a build that verifies no commits, keys of a policy are known by their text.
#[cfg(not(feature = "pkcs7"))]
impl CommitKey {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.trim().to_owned()))
    }

    pub(crate) fn has_signed(&self, _commit: &[u8], _signatures: &[Vec<u8>]) -> bool {
        false
    }
}

#[cfg(feature = "pkcs7")]
impl CommitKey {
    /// Reads a key.
    ///
    /// # Errors
    ///
    /// The text is not base64 of a public key. Keys by which everything counts as signed are refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = STANDARD.decode(text.trim()).map_err(|error| format!("it is not base64: {error}"))?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|bytes: Vec<u8>| {
            format!("it has {} bytes, and a public key of Ed25519 has 32 (a private one has 64)", bytes.len())
        })?;
        match VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(key)),
            _ => Err("it is no public key of Ed25519".to_owned()),
        }
    }

    /// Returns true if one of the signatures of a commit is by the key.
    #[must_use]
    pub fn has_signed(&self, commit: &[u8], signatures: &[Vec<u8>]) -> bool {
        let parsed = signatures.iter().take(SIGNATURES_MAX).filter_map(|bytes| Signature::from_slice(bytes).ok());
        parsed.into_iter().any(|signature| self.0.verify_strict(commit, &signature).is_ok())
    }
}

impl fmt::Display for CommitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(feature = "pkcs7")]
        return f.write_str(&STANDARD.encode(self.0.as_bytes()));
        #[cfg(not(feature = "pkcs7"))]
        f.write_str(&self.0)
    }
}
