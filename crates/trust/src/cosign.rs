//! Signatures of manifests by keys, as cosign, skopeo and podman write them: a key signs a payload of JSON
//! (containers-signature(5)), which has the digest of a manifest and the reference that the manifest had.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use x509_cert::der::asn1::ObjectIdentifier;

use crate::signing_key::{SignedHash, SigningKey, public_key_info};

/// Media type of a payload, which is a layer of the manifest with the tag `sha256-HEX.sig`.
pub const COSIGN_PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation of that layer which has the signature.
pub const COSIGN_SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Greatest size of a payload, in bytes.
pub const COSIGN_PAYLOAD_MAX: u64 = 64 << 10;
/// Greatest length of a signature in base64.
const SIGNATURE_TEXT_MAX: usize = 4096;
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A public key that signs payloads.
#[derive(Clone, Debug)]
pub struct CosignKey(KeyKind);

#[derive(Clone, Debug)]
enum KeyKind {
    Other(SigningKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl CosignKey {
    /// Reads a key in PEM: P-256, as `cosign generate-key-pair` makes it, P-384, RSA of at least 2048 bits, or Ed25519.
    ///
    /// # Errors
    ///
    /// The text is not one public key of these kinds.
    pub fn parse(pem: &[u8]) -> Result<Self, String> {
        let info = public_key_info(pem)?;
        if info.algorithm.oid != ED25519 {
            let key = SigningKey::of(&info).map_err(|error| match error.starts_with("its key is not") {
                true => "it is not a key of RSA, P-256, P-384 or Ed25519".to_owned(),
                false => error,
            });
            return Ok(Self(KeyKind::Other(key?)));
        }
        let bytes = <&[u8; 32]>::try_from(info.subject_public_key.raw_bytes());
        let key = bytes.ok().and_then(|bytes| ed25519_dalek::VerifyingKey::from_bytes(bytes).ok());
        key.map(|key| Self(KeyKind::Ed25519(key))).ok_or_else(|| "it is no key of Ed25519".to_owned())
    }

    /// Returns true if the key has signed the bytes of a payload. `signature` is the text of the annotation.
    #[must_use]
    pub fn has_signed(&self, payload: &[u8], signature: &str) -> bool {
        if signature.len() > SIGNATURE_TEXT_MAX {
            return false;
        }
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        match &self.0 {
            KeyKind::Other(key) => key.has_signed(SignedHash::Sha256, payload, &signature),
            KeyKind::Ed25519(key) => ed25519_dalek::Signature::from_slice(&signature)
                .is_ok_and(|signature| key.verify_strict(payload, &signature).is_ok()),
        }
    }
}

/// What a payload says. It counts only if a key has signed its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignPayload {
    /// Digest of the manifest, as `sha256:HEX`.
    pub manifest: String,
    /// Reference of the image, as the signer knew it.
    pub reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadJson {
    critical: CriticalJson,
    #[serde(default, rename = "optional")]
    _optional: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CriticalJson {
    r#type: String,
    image: SignedImageJson,
    identity: SignedIdentityJson,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SignedImageJson {
    docker_manifest_digest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SignedIdentityJson {
    docker_reference: String,
}

impl CosignPayload {
    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// The bytes are too many, have another form or type, or demand what this program does not know: unknown keys of
    /// `critical` are refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > COSIGN_PAYLOAD_MAX {
            return Err(format!("its payload has {} bytes; {COSIGN_PAYLOAD_MAX} is the limit", bytes.len()));
        }
        let payload: PayloadJson =
            serde_json::from_slice(bytes).map_err(|error| format!("its payload is malformed: {error}"))?;
        let CriticalJson { r#type, image, identity } = payload.critical;
        if r#type != "cosign container image signature" {
            return Err(format!("its payload has the type {type:?}, not that of a signature of an image"));
        }
        Ok(Self { manifest: image.docker_manifest_digest, reference: identity.docker_reference })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &str = concat!(
        r#"{"critical":{"identity":{"docker-reference":"h.x/a:1"},"image":{"docker-manifest-digest":"sha256:00"},"#,
        r#""type":"cosign container image signature"},"optional":null}"#
    );

    #[test]
    fn payloads_are_read_strictly() {
        let expected = CosignPayload { manifest: "sha256:00".to_owned(), reference: "h.x/a:1".to_owned() };
        assert_eq!(CosignPayload::parse(PAYLOAD.as_bytes()), Ok(expected.clone()));
        let with = PAYLOAD.replace(r#""optional":null"#, r#""optional":{"creator":"x","timestamp":1}"#);
        assert_eq!(CosignPayload::parse(with.as_bytes()), Ok(expected));
        for (from, to) in [
            ("container image signature", "blob signature"),
            (r#""type""#, r#""more":1,"type""#),
            (r#""optional":null"#, r#""optional":null,"other":1"#),
            (r#""docker-reference":"h.x/a:1""#, ""),
            (r#""docker-reference""#, r#""docker-reference":"h.x/b:1","docker-reference""#),
        ] {
            let changed = PAYLOAD.replacen(from, to, 1);
            assert_ne!(changed, PAYLOAD);
            assert!(CosignPayload::parse(changed.as_bytes()).is_err(), "{changed}");
        }
        let long = format!("{PAYLOAD}{}", " ".repeat(64 << 10));
        assert!(CosignPayload::parse(long.as_bytes()).unwrap_err().contains("limit"));
    }
}
