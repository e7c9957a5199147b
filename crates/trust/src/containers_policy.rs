//! `policy.json` of containers as a policy of this program: the scopes of registries become rules, and the keys of
//! `sigstoreSigned` become keys of OpenSSH (containers-policy.json(5)).
//!
//! A rule asks for the same keys, but for signatures of statements instead of manifests. What a rule cannot say is an
//! error, never left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ssh_key::PublicKey;
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData, RsaPublicKey};
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::ObjectIdentifier;

use crate::policy::TrustPolicy;
use crate::signing_key::public_key_info;
use crate::ssh;

/// The transport whose scopes are names of images in registries.
const REGISTRIES: &str = "docker";
const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";

/// A policy that was made of `policy.json`.
#[derive(Debug)]
pub struct ImportedPolicy {
    /// The text of `policy.toml`.
    pub text: String,
    /// Transports whose rules were left out, as they are not about names of images in registries.
    pub other_transports: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainersPolicyJson {
    default: Vec<ScopeRequirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<ScopeRequirement>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScopeRequirement {
    r#type: String,
    key_path: Option<String>,
    #[serde(default)]
    key_paths: Vec<String>,
    key_data: Option<String>,
    #[serde(default)]
    key_datas: Vec<String>,
    signed_identity: Option<IdentityJson>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct IdentityJson {
    r#type: String,
}

/// What a scope demands.
enum ScopeDemand {
    Accept,
    Reject,
    Keys { names: BTreeSet<String>, threshold: usize },
}

/// Makes a policy of the text of `policy.json`. `read` reads the file of a key.
///
/// # Errors
///
/// The text is not a policy, a key cannot be read, or a requirement cannot be said by a rule.
pub fn import_containers_policy(
    text: &str,
    read: impl FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<ImportedPolicy, String> {
    let mut policy: ContainersPolicyJson =
        serde_json::from_str(text).map_err(|error| format!("it is not a policy: {error}"))?;
    let mut keys = ImportedKeys { read, lines: BTreeMap::new() };
    let mut scopes = policy.transports.remove(REGISTRIES).unwrap_or_default();
    let default = match scopes.remove("") {
        Some(requirements) => keys.demand(&format!("transports.{REGISTRIES}.\"\""), &requirements)?,
        None => keys.demand("default", &policy.default)?,
    };
    let mut rules = String::new();
    for (scope, requirements) in scopes {
        let place = format!("transports.{REGISTRIES}.{scope:?}");
        let demand = keys.demand(&place, &requirements)?;
        for pattern in patterns(&scope).map_err(|reason| format!("{place}: {reason}"))? {
            rules.push_str(&rule(&pattern, &demand)?);
        }
    }
    let accepts = matches!(default, ScopeDemand::Accept);
    if let ScopeDemand::Keys { .. } = default {
        rules.push_str(&rule("*", &default)?);
    }
    let mut made = format!("version = 1\ndefault = \"{}\"\n", if accepts { "accept" } else { "reject" });
    for (name, line) in &keys.lines {
        let _ = write!(made, "\n[key.{name}]\nssh = {}\n", quoted(line)?);
    }
    made.push_str(&rules);
    TrustPolicy::parse(made.as_bytes()).map_err(|error| format!("its rules are no policy of this program: {error}"))?;
    Ok(ImportedPolicy { text: made, other_transports: policy.transports.into_keys().collect() })
}

/// Returns the patterns for the names of a scope: of an image, of a repository or namespace, or of a host.
fn patterns(scope: &str) -> Result<Vec<String>, String> {
    if scope.contains('*') {
        return Err("a rule cannot be about all hosts of a domain: write a scope for each host".to_owned());
    }
    let last = scope.rsplit('/').next().unwrap_or_default();
    match scope.contains('/') {
        true if last.contains([':', '@']) => Ok(vec![scope.to_owned()]),
        true => Ok(["{}:*", "{}@*", "{}/*"].map(|form| form.replace("{}", scope)).into()),
        false => Ok(vec![format!("{scope}/*")]),
    }
}

fn rule(pattern: &str, demand: &ScopeDemand) -> Result<String, String> {
    let demand = match demand {
        ScopeDemand::Accept => "accept = true\n".to_owned(),
        ScopeDemand::Reject => "reject = true\n".to_owned(),
        ScopeDemand::Keys { names, threshold } => {
            format!("keys = {names:?}\nthreshold = {threshold}\n").replace('{', "[").replace('}', "]")
        }
    };
    Ok(format!("\n[[rule]]\nname = {}\n{demand}", quoted(pattern)?))
}

/// Returns a text as a string of TOML.
fn quoted(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err(format!("{text:?} has a control character"));
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// The keys that were read, with their names in the policy.
struct ImportedKeys<R> {
    read: R,
    lines: BTreeMap<String, String>,
}

impl<R: FnMut(&str) -> Result<Vec<u8>, String>> ImportedKeys<R> {
    /// Returns what the requirements of a scope demand together.
    fn demand(&mut self, place: &str, requirements: &[ScopeRequirement]) -> Result<ScopeDemand, String> {
        let failed = |reason: String| format!("{place}: {reason}");
        let mut signed = Vec::new();
        let mut is_rejected = requirements.is_empty();
        for requirement in requirements {
            match requirement.r#type.as_str() {
                "reject" => is_rejected = true,
                "insecureAcceptAnything" => {}
                "sigstoreSigned" => signed.push(self.keys_of(requirement).map_err(failed)?),
                other => {
                    let remedy = "have its images signed with a key of OpenSSH, and write a rule for that";
                    return Err(failed(format!("a rule cannot ask for {other:?}: {remedy}")));
                }
            }
        }
        if is_rejected {
            return Ok(ScopeDemand::Reject);
        }
        let threshold = signed.len();
        let names: BTreeSet<String> = signed.iter().flatten().cloned().collect();
        match threshold {
            0 => Ok(ScopeDemand::Accept),
            // One of several keys, or each of several keys.
            1 => Ok(ScopeDemand::Keys { names, threshold }),
            _ if signed.iter().all(|keys| keys.len() == 1) && names.len() == threshold => {
                Ok(ScopeDemand::Keys { names, threshold })
            }
            _ => Err(failed("a rule cannot ask for one key of each of several lists".to_owned())),
        }
    }

    /// Returns the names of the keys of a requirement, one of which must have signed.
    fn keys_of(&mut self, requirement: &ScopeRequirement) -> Result<BTreeSet<String>, String> {
        if let Some(other) = requirement.others.keys().next() {
            return Err(format!(
                "a rule cannot ask for {other:?}: only keys (keyPath, keyData) become keys of a policy"
            ));
        }
        if let Some(IdentityJson { r#type }) = &requirement.signed_identity
            && !["matchExact", "matchRepoDigestOrExact", "matchRepository"].contains(&r#type.as_str())
        {
            return Err(format!(
                "a rule cannot have the signedIdentity {type:?}: have the images signed for their names"
            ));
        }
        let mut names = BTreeSet::new();
        for path in requirement.key_path.iter().chain(&requirement.key_paths) {
            let pem = (self.read)(path).map_err(|reason| format!("the key {path}: {reason}"))?;
            let stem = path.rsplit('/').next().and_then(|file| file.split('.').next()).unwrap_or_default();
            names.insert(self.add(stem, &pem).map_err(|reason| format!("the key {path}: {reason}"))?);
        }
        for data in requirement.key_data.iter().chain(&requirement.key_datas) {
            let pem = STANDARD.decode(data).map_err(|error| format!("keyData is not base64: {error}"))?;
            names.insert(self.add("key", &pem).map_err(|reason| format!("keyData: {reason}"))?);
        }
        if names.is_empty() { Err("sigstoreSigned has no key".to_owned()) } else { Ok(names) }
    }

    /// Adds a key, unless it is there already, and returns its name.
    fn add(&mut self, wish: &str, pem: &[u8]) -> Result<String, String> {
        let line = ssh_line(pem)?;
        if let Some((name, _)) = self.lines.iter().find(|(_, other)| **other == line) {
            return Ok(name.clone());
        }
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
        let plain: String = wish.chars().filter(is_plain).take(64).collect();
        let plain = if plain.is_empty() { "key".to_owned() } else { plain };
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let mut names = std::iter::once(plain.clone()).chain(numbered);
        let name = names.find(|name| !self.lines.contains_key(name)).unwrap_or(plain);
        self.lines.insert(name.clone(), line);
        Ok(name)
    }
}

/// Returns a public key in PEM as OpenSSH writes it.
fn ssh_line(pem: &[u8]) -> Result<String, String> {
    let info = public_key_info(pem)?;
    let der = info.to_der().map_err(|error| error.to_string())?;
    let bytes = info.subject_public_key.raw_bytes();
    let wrong = |error: ssh_key::Error| error.to_string();
    let key = match info.algorithm.oid.to_string().as_str() {
        EC => KeyData::Ecdsa(EcdsaPublicKey::from_sec1_bytes(bytes).map_err(wrong)?),
        ED25519 => KeyData::Ed25519(Ed25519PublicKey::try_from(bytes).map_err(wrong)?),
        RSA => {
            let key = <rsa::RsaPublicKey as rsa::pkcs8::DecodePublicKey>::from_public_key_der(&der);
            let key = key.map_err(|error| error.to_string())?;
            KeyData::Rsa(RsaPublicKey::try_from(&key).map_err(wrong)?)
        }
        other => return Err(format!("keys of the algorithm {other} are not accepted")),
    };
    let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
    let curve = curve.map(|curve| curve.to_string());
    let expected = match &key {
        KeyData::Ecdsa(EcdsaPublicKey::NistP256(_)) => Some("1.2.840.10045.3.1.7"),
        KeyData::Ecdsa(EcdsaPublicKey::NistP384(_)) => Some("1.3.132.0.34"),
        _ => None,
    };
    if matches!(key, KeyData::Ecdsa(_)) && (expected.is_none() || expected != curve.as_deref()) {
        return Err("its curve is not P-256 or P-384".to_owned());
    }
    let line = PublicKey::new(key, "").to_openssh().map_err(wrong)?;
    ssh::parse_key(&line)?;
    Ok(line)
}
