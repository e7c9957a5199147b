//! A statement with the signatures that lie beside it.

use std::fmt;

use libcomposefs_image::Digest;

use crate::digest_text;

/// The namespace of signatures of statements: the argument `-n` of `ssh-keygen -Y sign`.
pub const NAMESPACE: &str = "composefs-image";
/// Greatest size of a signature file, in bytes.
pub const SIGNATURE_MAX: usize = 64 << 10;
/// Greatest number of signatures that are looked at for one statement.
pub const SIGNATURES_MAX: usize = 16;
/// Greatest number of statements that are looked at for one image.
pub const STATEMENTS_MAX: usize = 64;

/// A statement and its signatures, as the bytes of their files.
///
/// The statement is a line of JSON with signatures of OpenSSH, or a digest statement with PKCS#7 signatures of the
/// digest in it ([`digest_statement`]).
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The bytes of the statement, which are what is signed.
    pub statement: Vec<u8>,
    /// The files of the signatures.
    pub signatures: Vec<Vec<u8>>,
}

/// Returns the statement beside a PKCS#7 signature: the line with the digest alone. What is signed is the digest as the
/// kernel formats it, so the statement is good for every name, has the serial number 0, and no times.
#[must_use]
pub fn digest_statement(digest: &Digest) -> String {
    format!("{}\n", digest_text::format(digest))
}

impl Evidence {
    /// Returns the digest of a digest statement; `None` if the statement is another one.
    pub(crate) fn only_digest(&self) -> Option<Digest> {
        digest_text::parse(std::str::from_utf8(&self.statement).ok()?.strip_suffix('\n')?)
    }
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureError {
    /// The file is larger than any real signature.
    TooLarge(usize),
    /// The file is not a signature of OpenSSH.
    Malformed(String),
    /// The file is not a PKCS#7 signature of a digest.
    MalformedPkcs7(String),
    /// The signature was made for another purpose.
    Namespace(String),
    /// The signature is by an algorithm that is not secure enough.
    Algorithm(String),
    /// The rule does not name the key of the signature.
    OtherKey(String),
    /// The key of the signature is revoked.
    Revoked {
        /// Name of the key in the policy.
        key: String,
        /// Why it is revoked, in the words of the policy.
        reason: String,
    },
    /// The signature is by the key, but over other bytes.
    Wrong(String),
    /// The holder of the hardware key did not touch it.
    NotTouched(String),
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(size) => write!(f, "it has {size} bytes; {SIGNATURE_MAX} is the limit"),
            Self::Malformed(reason) => write!(f, "it is not a signature of OpenSSH: {reason}"),
            Self::MalformedPkcs7(reason) => write!(f, "it is not a PKCS#7 signature of a digest: {reason}"),
            Self::Namespace(namespace) => write!(f, "it was made for {namespace:?}, not for {NAMESPACE:?}"),
            Self::Algorithm(name) => write!(f, "it is by the algorithm {name}, which is not accepted"),
            Self::OtherKey(key) => write!(f, "the rule does not name its key {key}"),
            Self::Revoked { key, reason } => write!(f, "its key {key:?} is revoked: {reason}"),
            Self::Wrong(key) => write!(f, "the key {key:?} signed other bytes than this statement"),
            Self::NotTouched(key) => write!(f, "the hardware key {key:?} was not touched"),
        }
    }
}
