//! The place of PKCS#7 in a build without it: certificates of a policy are known by their text, and no signature is by
//! them.

use libcomposefs_image::Digest;

use crate::evidence::SignatureError;

pub(crate) use self::{NoDigestSignature as DigestSignature, UnreadCertificate as SigningCertificate};

/// A certificate of a policy, which is not read.
#[derive(Clone, Debug)]
pub(crate) struct UnreadCertificate {
    text: String,
}

impl UnreadCertificate {
    pub(crate) fn parse(pem: &str) -> Result<Self, String> {
        Ok(Self { text: pem.trim().to_owned() })
    }

    pub(crate) fn fingerprint(&self) -> &str {
        "unknown: this program does not read certificates"
    }

    pub(crate) fn has_key_of(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A signature of a digest, which no file is.
pub(crate) enum NoDigestSignature {}

impl NoDigestSignature {
    pub(crate) fn parse(_file: &[u8]) -> Result<Self, SignatureError> {
        Err(SignatureError::MalformedPkcs7("this program does not read them".to_owned()))
    }

    pub(crate) fn is_by(&self, _certificate: &UnreadCertificate) -> bool {
        match *self {}
    }

    pub(crate) fn signer(&self) -> String {
        match *self {}
    }

    pub(crate) fn check(
        &self,
        _name: &str,
        _certificate: &UnreadCertificate,
        _digest: &Digest,
    ) -> Result<(), SignatureError> {
        match *self {}
    }
}
