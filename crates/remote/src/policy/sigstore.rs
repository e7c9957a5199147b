//! The requirement `sigstoreSigned`: by which keys a manifest must be signed, and for which references.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Requirement;
use crate::printable::printable;
use crate::reference::{Reference, names_identifier};

/// Type of the requirement.
pub(super) const SIGSTORE_SIGNED: &str = "sigstoreSigned";
/// Fields that have keys. A requirement has one of them, or one of [`OTHER_SIGNERS`].
const KEYS: [&str; 4] = ["keyPath", "keyPaths", "keyData", "keyDatas"];
/// Fields of signers by certificate and of transparency logs, which this program does not check.
const OTHER_SIGNERS: [&str; 6] =
    ["fulcio", "pki", "rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas"];

/// A signature that an image must have: by one of the keys, of a payload whose reference the identity accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigstoreRequirement {
    /// The keys.
    pub keys: SigstoreKeys,
    /// The references that signatures may be for.
    pub identity: SignedIdentity,
}

/// Public keys in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigstoreKeys {
    /// Files with one key each.
    Files(Vec<PathBuf>),
    /// The keys themselves.
    Data(Vec<Vec<u8>>),
}

/// The references that a signature may be for (`signedIdentity`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedIdentity {
    /// The reference of the image.
    MatchExact,
    /// The reference of the image; if the image is named by digest alone, any reference to its repository.
    MatchRepoDigestOrExact,
    /// Any reference to the repository of the image.
    MatchRepository,
    /// This reference.
    ExactReference(Reference),
    /// Any reference to this repository, by its name.
    ExactRepository(String),
    /// As `MatchRepoDigestOrExact`, after the prefix of the name of the image was replaced.
    RemapIdentity {
        /// Prefix of names: a host, a namespace or a repository.
        prefix: String,
        /// The prefix that signatures have in its place.
        signed_prefix: String,
    },
}

impl SignedIdentity {
    /// Checks the reference of a signature. `image` is the reference of the image; an image of a layout has none.
    ///
    /// # Errors
    ///
    /// The reason why the signature does not count.
    pub fn accepts(&self, image: Option<&Reference>, signed: &str) -> Result<(), String> {
        let shown = printable(signed, 300);
        let reference: Reference = signed.parse().map_err(|_| format!("it is for {shown:?}, which is no reference"))?;
        // A reference without tag and digest is complete only for a repository.
        let is_complete = names_identifier(signed);
        let accepted = match self {
            Self::ExactReference(expected) => {
                (is_complete && reference == *expected, format!("the reference {expected}"))
            }
            Self::ExactRepository(expected) => (reference.name() == *expected, format!("the repository {expected}")),
            _ => {
                let image = image.ok_or(
                    "an image outside a registry has no reference: signedIdentity must be exactReference or \
                     exactRepository for it",
                )?;
                let name = match self {
                    Self::RemapIdentity { prefix, signed_prefix } => remapped(&image.name(), prefix, signed_prefix),
                    _ => image.name(),
                };
                let by_digest_alone = image.tag().is_none() && !matches!(self, Self::MatchExact);
                if by_digest_alone || matches!(self, Self::MatchRepository) {
                    let is_complete = is_complete || matches!(self, Self::MatchRepository);
                    (is_complete && reference.name() == name, format!("the repository {name}"))
                } else {
                    let same_identifiers = (reference.tag(), reference.digest()) == (image.tag(), image.digest());
                    let is_same = is_complete && reference.name() == name && same_identifiers;
                    (is_same, format!("the reference {}", image.to_string().replacen(&image.name(), &name, 1)))
                }
            }
        };
        match accepted {
            (true, _) => Ok(()),
            (false, expected) => Err(format!("it is for {shown:?}, not for {expected}")),
        }
    }
}

/// Replaces a prefix of a name, which ends where a part of the name ends.
fn remapped(name: &str, prefix: &str, signed_prefix: &str) -> String {
    match name.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{signed_prefix}{rest}"),
        _ => name.to_owned(),
    }
}

/// Reads the fields of a requirement.
pub(super) fn requirement(mut fields: Map<String, Value>) -> Result<Requirement, String> {
    if let Some(field) = OTHER_SIGNERS.iter().find(|field| fields.contains_key(**field)) {
        return Ok(Requirement::Unchecked(format!("{SIGSTORE_SIGNED}` with `{field}")));
    }
    let identity = fields.remove("signedIdentity").map_or(Ok(SignedIdentity::MatchRepoDigestOrExact), identity)?;
    let mut given = KEYS.iter().filter_map(|field| Some((*field, fields.remove(*field)?)));
    let (Some((field, value)), None) = (given.next(), given.next()) else {
        return Err(format!("{SIGSTORE_SIGNED:?} has not exactly one of {}", KEYS.join(", ")));
    };
    let values = match value {
        Value::String(text) if !field.ends_with('s') => vec![text],
        Value::Array(texts) if field.ends_with('s') => {
            let text = |value: Value| value.as_str().map(str::to_owned);
            texts.into_iter().map(text).collect::<Option<Vec<_>>>().ok_or_else(|| wrong_type(field))?
        }
        _ => return Err(wrong_type(field)),
    };
    if values.is_empty() {
        return Err(format!("{field:?} has no key"));
    }
    drop(given);
    none_left(&fields, SIGSTORE_SIGNED)?;
    let keys = if field.starts_with("keyPath") {
        SigstoreKeys::Files(values.into_iter().map(PathBuf::from).collect())
    } else {
        let data = values.iter().map(|data| STANDARD.decode(data)).collect::<Result<_, _>>();
        SigstoreKeys::Data(data.map_err(|error| format!("{field:?} is not base64: {error}"))?)
    };
    Ok(Requirement::Sigstore(SigstoreRequirement { keys, identity }))
}

fn identity(value: Value) -> Result<SignedIdentity, String> {
    let Value::Object(mut fields) = value else { return Err("\"signedIdentity\" is no object".to_owned()) };
    let mut text = |field: &str| match fields.remove(field) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(format!("\"signedIdentity\" has no text {field:?}")),
    };
    let kind = text("type")?;
    let invalid = |field: &str, reason: String| format!("{field:?} of {kind:?} is not valid: {reason}");
    let found = match kind.as_str() {
        "matchExact" => SignedIdentity::MatchExact,
        "matchRepoDigestOrExact" => SignedIdentity::MatchRepoDigestOrExact,
        "matchRepository" => SignedIdentity::MatchRepository,
        "exactReference" => {
            let expected = text("dockerReference")?;
            let reference: Reference =
                expected.parse().map_err(|error| invalid("dockerReference", format!("{error}")))?;
            if !names_identifier(&expected) {
                return Err(invalid("dockerReference", "it has neither a tag nor a digest".to_owned()));
            }
            SignedIdentity::ExactReference(reference)
        }
        "exactRepository" => {
            let expected = text("dockerRepository")?;
            let reference: Reference =
                expected.parse().map_err(|error| invalid("dockerRepository", format!("{error}")))?;
            SignedIdentity::ExactRepository(reference.name())
        }
        "remapIdentity" => {
            SignedIdentity::RemapIdentity { prefix: text("prefix")?, signed_prefix: text("signedPrefix")? }
        }
        other => return Err(format!("\"signedIdentity\" has the unknown type {other:?}")),
    };
    none_left(&fields, &kind)?;
    Ok(found)
}

fn wrong_type(field: &str) -> String {
    let expected = if field.ends_with('s') { "an array of texts" } else { "a text" };
    format!("{field:?} is not {expected}")
}

fn none_left(fields: &Map<String, Value>, kind: &str) -> Result<(), String> {
    match fields.keys().next() {
        Some(other) => Err(format!("the unknown field {other:?} in {kind:?}")),
        None => Ok(()),
    }
}
