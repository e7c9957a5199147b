//! The place of keys that sign commits of ostree in a build without signatures of others than OpenSSH: keys of a policy
//! are known by their text, and nothing is a signature by them.

use std::fmt;

/// A public key that signs commits, which is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitKey(String);

impl CommitKey {
    /// Takes the text of a key.
    ///
    /// # Errors
    ///
    /// None: the text is not read.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.trim().to_owned()))
    }

    /// Returns false: this build verifies no commits.
    #[must_use]
    pub fn has_signed(&self, _commit: &[u8], _signatures: &[Vec<u8>]) -> bool {
        false
    }
}

impl fmt::Display for CommitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
