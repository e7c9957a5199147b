//! Public keys in the form of X.509, and the signatures that they verify.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::sha2::{Digest as _, Sha256, Sha384, Sha512};
use rsa::traits::PublicKeyParts as _;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::pem::decode_vec;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// Least size of an RSA key, in bits.
const RSA_MIN: usize = 2048;
pub(crate) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// A hash function of signatures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignedHash {
    Sha256,
    Sha384,
    Sha512,
}

/// The hash functions: their own names, and their names in signatures by RSA and by elliptic curves.
pub(crate) const HASHES: [(SignedHash, [&str; 3]); 3] = [
    (SignedHash::Sha256, ["2.16.840.1.101.3.4.2.1", "1.2.840.113549.1.1.11", "1.2.840.10045.4.3.2"]),
    (SignedHash::Sha384, ["2.16.840.1.101.3.4.2.2", "1.2.840.113549.1.1.12", "1.2.840.10045.4.3.3"]),
    (SignedHash::Sha512, ["2.16.840.1.101.3.4.2.3", "1.2.840.113549.1.1.13", "1.2.840.10045.4.3.4"]),
];

impl SignedHash {
    pub(crate) fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn pkcs1(self) -> Pkcs1v15Sign {
        match self {
            Self::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
            Self::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
            Self::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
        }
    }
}

/// A public key of RSA or of an elliptic curve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SigningKey {
    Rsa(RsaPublicKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
}

impl SigningKey {
    /// Reads a key, which is of RSA, P-256 or P-384.
    pub(crate) fn of(info: &SubjectPublicKeyInfoOwned) -> Result<Self, String> {
        if info.algorithm.oid == RSA {
            let der = info.to_der().map_err(|error| error.to_string())?;
            let key = RsaPublicKey::from_public_key_der(&der).map_err(|error| error.to_string())?;
            let bits = key.n().bits();
            if bits < RSA_MIN {
                return Err(format!("its RSA key has {bits} bits; {RSA_MIN} is the least"));
            }
            return Ok(Self::Rsa(key));
        }
        let curve = info.algorithm.parameters.as_ref().filter(|_| info.algorithm.oid == EC);
        let curve = curve.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
        let point = info.subject_public_key.raw_bytes();
        let key = match curve {
            Some(P256) => p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self::P256),
            Some(P384) => p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self::P384),
            _ => return Err("its key is not RSA, P-256 or P-384".to_owned()),
        };
        key.map_err(|_| "its key is no point of its curve".to_owned())
    }

    /// Returns true if the key has made this signature of these bytes.
    pub(crate) fn has_signed(&self, hash: SignedHash, bytes: &[u8], signature: &[u8]) -> bool {
        let hashed = hash.of(bytes);
        match self {
            Self::Rsa(key) => key.verify(hash.pkcs1(), &hashed, signature).is_ok(),
            Self::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&hashed, &signature).is_ok()),
            Self::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&hashed, &signature).is_ok()),
        }
    }

    /// Returns the place of the names of its signatures in a row of [`HASHES`].
    pub(crate) fn column(&self) -> usize {
        if matches!(self, Self::Rsa(_)) { 1 } else { 2 }
    }
}

/// Reads one public key in PEM, as `openssl pkey -pubout` writes it.
pub(crate) fn public_key_info(pem: &[u8]) -> Result<SubjectPublicKeyInfoOwned, String> {
    let text = pem.trim_ascii();
    let (label, der) = decode_vec(text).map_err(|error| format!("it is not one key in PEM: {error}"))?;
    if label != "PUBLIC KEY" || !text.starts_with(b"-----BEGIN ") {
        return Err(format!("it is not one public key in PEM, but {label:?}"));
    }
    SubjectPublicKeyInfoOwned::from_der(&der).map_err(|error| error.to_string())
}
