//! Signatures of OpenSSH (`PROTOCOL.sshsig` in its source), as `ssh-keygen -Y sign` writes them.

use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, LineEnding, PublicKey, SshSig};

use crate::evidence::{NAMESPACE, SIGNATURE_MAX, SignatureError};

/// Least size of an RSA key, in bits.
const RSA_MIN: usize = 2048;
const BEGIN: &[u8] = b"-----BEGIN SSH SIGNATURE-----\n";
const END: &[u8] = b"-----END SSH SIGNATURE-----\n";
/// Bit of the flags of a hardware key: its holder touched it.
const USER_PRESENT: u8 = 1;

/// Reads the public key of a policy, such as `ssh-ed25519 AAAA… comment`.
pub(crate) fn parse_key(text: &str) -> Result<KeyData, String> {
    let key = PublicKey::from_openssh(text.trim()).map_err(|error| error.to_string())?;
    match key.key_data() {
        KeyData::Rsa(rsa) => {
            let bits = rsa.n.as_positive_bytes().map_or(0, <[u8]>::len) * 8;
            if bits < RSA_MIN {
                return Err(format!("its RSA key has {bits} bits; {RSA_MIN} is the least"));
            }
        }
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {}
        _ => return Err(format!("keys of the algorithm {} are not accepted", key.algorithm())),
    }
    Ok(key.key_data().clone())
}

/// Returns the fingerprint of a key as `ssh-keygen -l` prints it.
pub(crate) fn fingerprint(key: &KeyData) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// A signature whose form and purpose are right. Whether it is valid is not known yet.
pub(crate) struct ParsedSignature(SshSig);

impl ParsedSignature {
    /// Reads a signature.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, SignatureError> {
        if file.len() > SIGNATURE_MAX {
            return Err(SignatureError::TooLarge(file.len()));
        }
        if !file.starts_with(BEGIN) || !file.ends_with(END) {
            let reason = "it does not begin and end with the lines of one";
            return Err(SignatureError::Malformed(reason.to_owned()));
        }
        let signature = SshSig::from_pem(file).map_err(|error| SignatureError::Malformed(error.to_string()))?;
        // The library takes some lengths that are wrong, and a signature has one form.
        let written = signature.to_pem(LineEnding::LF).map_err(|error| SignatureError::Malformed(error.to_string()))?;
        if !without_line_ends(file).eq(without_line_ends(written.as_bytes())) {
            return Err(SignatureError::Malformed("it has bytes that do not belong to it".to_owned()));
        }
        if signature.namespace() != NAMESPACE {
            return Err(SignatureError::Namespace(signature.namespace().to_owned()));
        }
        // The algorithm "ssh-rsa" is RSA with SHA-1.
        if matches!(signature.signature().algorithm(), Algorithm::Rsa { hash: None } | Algorithm::Dsa) {
            return Err(SignatureError::Algorithm(signature.signature().algorithm().to_string()));
        }
        Ok(ParsedSignature(signature))
    }

    /// The key that the signature claims to be by.
    pub(crate) fn key(&self) -> &KeyData {
        self.0.public_key()
    }

    /// Checks that the key has signed these bytes.
    pub(crate) fn check(&self, name: &str, statement: &[u8]) -> Result<(), SignatureError> {
        let key = PublicKey::new(self.key().clone(), "");
        key.verify(NAMESPACE, statement, &self.0).map_err(|_| SignatureError::Wrong(name.to_owned()))?;
        let is_hardware = matches!(self.key(), KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_));
        // The bytes end with the flags and a counter of four bytes.
        let flags = self.0.signature_bytes().iter().rev().nth(4).copied().unwrap_or(0);
        if is_hardware && flags & USER_PRESENT == 0 {
            return Err(SignatureError::NotTouched(name.to_owned()));
        }
        Ok(())
    }
}

fn without_line_ends(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().copied().filter(|byte| *byte != b'\n')
}
