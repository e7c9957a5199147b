//! PKCS#7 signatures of digests: what `fsverity sign` and `openssl smime` make, and the kernel verifies for files with
//! built-in signatures (`Documentation/filesystems/fsverity.rst`).

use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use libcomposefs_image::Digest;
use rsa::sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, OctetString};
use x509_cert::der::pem::{LineEnding, decode_vec, encode_string};
use x509_cert::der::{Decode as _, DecodePem as _, Encode as _};
use x509_cert::ext::pkix::SubjectKeyIdentifier;

use crate::evidence::{SIGNATURE_MAX, SignatureError};
use crate::signing_key::{HASHES, RSA, SigningKey};

const LABEL: &str = "PKCS7";
const BEGIN: &[u8] = b"-----BEGIN PKCS7-----\n";

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");

/// A certificate of a policy, whose key signs. Its dates and its issuer are not judged: the policy names it.
#[derive(Clone, Debug)]
pub(crate) struct SigningCertificate {
    certificate: Certificate,
    key: SigningKey,
    fingerprint: String,
}

impl SigningCertificate {
    /// Reads a certificate in PEM, alone in its text.
    pub(crate) fn parse(pem: &str) -> Result<Self, String> {
        let text = pem.trim();
        if !text.starts_with("-----BEGIN CERTIFICATE-----") || text.matches("-----BEGIN ").count() != 1 {
            return Err("it is not one certificate in PEM".to_owned());
        }
        let certificate = Certificate::from_pem(text).map_err(|error| error.to_string())?;
        let key = SigningKey::of(&certificate.tbs_certificate.subject_public_key_info)?;
        let der = certificate.to_der().map_err(|error| error.to_string())?;
        let hex: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { certificate, key, fingerprint: format!("SHA256:{hex}") })
    }

    /// Returns the SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` computes it.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Returns whether another certificate has the same key.
    pub(crate) fn has_key_of(&self, other: &Self) -> bool {
        self.key == other.key
    }

    fn is_meant_by(&self, signer: &SignerIdentifier) -> bool {
        let own = &self.certificate.tbs_certificate;
        match signer {
            SignerIdentifier::IssuerAndSerialNumber(found) => {
                found.issuer == own.issuer && found.serial_number == own.serial_number
            }
            SignerIdentifier::SubjectKeyIdentifier(found) => {
                let identifier = own.get::<SubjectKeyIdentifier>();
                identifier.is_ok_and(|identifier| identifier.is_some_and(|(_, own)| own == *found))
            }
        }
    }
}

/// A signature whose form is right: of one signer, and of bytes that it does not contain.
pub(crate) struct DigestSignature(SignerInfo);

impl DigestSignature {
    /// Reads a signature in PEM, as [`pkcs7_pem`] writes it.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, SignatureError> {
        if file.len() > SIGNATURE_MAX {
            return Err(SignatureError::TooLarge(file.len()));
        }
        let der = match decode_vec(file) {
            Ok((LABEL, der)) => der,
            _ => return Err(malformed("it is not one block of PEM with the label PKCS7")),
        };
        // A file has one form: nothing stands before, between or after.
        if encode_string(LABEL, LineEnding::LF, &der).map_err(|error| malformed(&error))?.as_bytes() != file {
            return Err(malformed("it has bytes that do not belong to it"));
        }
        Self::of_der(&der)
    }

    fn of_der(der: &[u8]) -> Result<Self, SignatureError> {
        let content = ContentInfo::from_der(der).map_err(|error| malformed(&error))?;
        if content.content_type != SIGNED_DATA {
            return Err(malformed("its content is not signed data"));
        }
        let signed: SignedData = content.content.decode_as().map_err(|error| malformed(&error))?;
        if signed.encap_content_info.econtent.is_some() || signed.encap_content_info.econtent_type != DATA {
            return Err(malformed("it contains what it signs: sign detached data"));
        }
        match <[SignerInfo; 1]>::try_from(signed.signer_infos.0.into_vec()) {
            Ok([signer]) => Ok(Self(signer)),
            Err(signers) => Err(malformed(&format!("it has {} signers, not one", signers.len()))),
        }
    }

    /// Returns true if the signature claims to be by the key of this certificate.
    pub(crate) fn is_by(&self, certificate: &SigningCertificate) -> bool {
        certificate.is_meant_by(&self.0.sid)
    }

    /// The signer, as the signature names it.
    pub(crate) fn signer(&self) -> String {
        match &self.0.sid {
            SignerIdentifier::IssuerAndSerialNumber(found) => {
                format!("of the certificate {} by {:?}", found.serial_number, found.issuer.to_string())
            }
            SignerIdentifier::SubjectKeyIdentifier(_) => "of the certificate with another identifier".to_owned(),
        }
    }

    /// Checks that the key of a certificate has signed a digest.
    pub(crate) fn check(
        &self,
        name: &str,
        certificate: &SigningCertificate,
        digest: &Digest,
    ) -> Result<(), SignatureError> {
        let signer = &self.0;
        let hash_name = signer.digest_alg.oid.to_string();
        let row = HASHES.iter().find(|(_, names)| names[0] == hash_name);
        let (hash, names) = row.ok_or(SignatureError::Algorithm(hash_name))?;
        let found = signer.signature_algorithm.oid;
        let is_plain_rsa = found == RSA && matches!(certificate.key, SigningKey::Rsa(_));
        if !is_plain_rsa && found.to_string() != names[certificate.key.column()] {
            return Err(SignatureError::Algorithm(found.to_string()));
        }
        let wrong = || SignatureError::Wrong(name.to_owned());
        let content = digest.kernel_formatted();
        let bytes = match &signer.signed_attrs {
            None => content,
            Some(attributes) => {
                let value = |wanted: ObjectIdentifier| {
                    let mut found = attributes.iter().filter(|attribute| attribute.oid == wanted);
                    let only = found.next().filter(|_| found.next().is_none())?;
                    (only.values.len() == 1).then(|| only.values.get(0))?
                };
                let hashed = value(MESSAGE_DIGEST).and_then(|value| value.decode_as::<OctetString>().ok());
                if hashed.is_none_or(|hashed| hashed.as_bytes() != hash.of(&content)) {
                    return Err(wrong());
                }
                let kind = value(CONTENT_TYPE).and_then(|value| value.decode_as::<ObjectIdentifier>().ok());
                if kind != Some(DATA) {
                    return Err(malformed("its attributes do not say that it signs data"));
                }
                attributes.to_der().map_err(|error| malformed(&error))?
            }
        };
        let is_signed = certificate.key.has_signed(*hash, &bytes, signer.signature.as_bytes());
        is_signed.then_some(()).ok_or_else(wrong)
    }
}

/// Returns a PKCS#7 signature in DER or PEM as the PEM that is stored beside an image.
///
/// # Errors
///
/// The bytes are no detached signature of one signer.
pub fn pkcs7_pem(bytes: &[u8]) -> Result<String, SignatureError> {
    if bytes.len() > SIGNATURE_MAX {
        return Err(SignatureError::TooLarge(bytes.len()));
    }
    let der = match bytes.starts_with(BEGIN) {
        true => decode_vec(bytes).map_err(|error| malformed(&error))?.1,
        false => bytes.to_vec(),
    };
    DigestSignature::of_der(&der)?;
    let pem = encode_string(LABEL, LineEnding::LF, &der).map_err(|error| malformed(&error))?;
    DigestSignature::parse(pem.as_bytes())?;
    Ok(pem)
}

fn malformed(reason: &(impl std::fmt::Display + ?Sized)) -> SignatureError {
    SignatureError::MalformedPkcs7(reason.to_string())
}
