//! `policy.toml`: the keys, and for each name which of them must have signed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use ssh_key::public::KeyData;

use crate::commit_key::CommitKey;
use crate::commit_rule::CommitRule;
#[cfg(feature = "pkcs7")]
use crate::commit_rule::CommitRuleText;
use crate::evidence::Evidence;
use crate::name_pattern::{NamePattern, NamePatternError};
use crate::pkcs7::{DigestSignature, SigningCertificate};
use crate::ssh;

/// Greatest size of a policy, in bytes.
pub const POLICY_MAX: usize = 1 << 20;
/// Version of the format.
const VERSION: u32 = 1;

/// A policy: keys, and rules for names.
#[derive(Clone, Debug)]
pub struct TrustPolicy {
    pub(crate) accepts_names_without_rule: bool,
    pub(crate) judges_expiry_at_mount: bool,
    pub(crate) keys: BTreeMap<String, PolicyKey>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) commit_rules: Vec<CommitRule>,
}

#[derive(Clone, Debug)]
pub(crate) struct PolicyKey {
    pub(crate) key: KeyMaterial,
    /// Why the key does not count any more.
    pub(crate) revoked: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum KeyMaterial {
    /// A key of OpenSSH, which signs statements.
    Ssh(KeyData),
    /// A certificate, whose key signs digests.
    Pkcs7(Box<SigningCertificate>),
    /// A key of Ed25519, which signs commits of ostree.
    Ostree(CommitKey),
}

impl KeyMaterial {
    fn parse(text: &KeyText) -> Result<Self, String> {
        match (text.ssh.as_deref(), text.pkcs7.as_deref(), text.ostree.as_deref()) {
            (Some(key), None, None) => Ok(Self::Ssh(
                ssh::parse_key(key)
                    .map_err(|reason| format!("{reason}; write the line of a .pub file of ssh-keygen"))?,
            )),
            (None, None, Some(key)) => CommitKey::parse(key).map(Self::Ostree),
            (None, Some(pem), None) => {
                let certificate = SigningCertificate::parse(pem);
                Ok(Self::Pkcs7(Box::new(certificate.map_err(|reason| {
                    format!("{reason}; write the certificate between \"\"\" and \"\"\", with its lines BEGIN and END")
                })?)))
            }
            _ => Err("it has not exactly one of \"ssh\", \"pkcs7\" and \"ostree\"".to_owned()),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ssh(one), Self::Ssh(two)) => one == two,
            (Self::Pkcs7(one), Self::Pkcs7(two)) => one.has_key_of(two),
            (Self::Ostree(one), Self::Ostree(two)) => one == two,
            // Signatures of two kinds are never counted together.
            _ => false,
        }
    }

    pub(crate) fn is_ssh_key(&self, key: &KeyData) -> bool {
        matches!(self, Self::Ssh(own) if own == key)
    }

    pub(crate) fn certificate(&self) -> Option<&SigningCertificate> {
        match self {
            Self::Ssh(_) | Self::Ostree(_) => None,
            Self::Pkcs7(certificate) => Some(certificate),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: NamePattern,
    pub(crate) demand: Demand,
}

#[derive(Clone, Debug)]
pub(crate) enum Demand {
    Nothing,
    /// No image is accepted.
    Rejection,
    Signatures(SignatureDemand),
}

#[derive(Clone, Debug)]
pub(crate) struct SignatureDemand {
    pub(crate) keys: Vec<String>,
    /// How many different keys must have signed.
    pub(crate) threshold: usize,
    pub(crate) min_serial: u64,
    pub(crate) max_age: Option<Duration>,
}

impl Demand {
    fn in_words(&self) -> String {
        let demand = match self {
            Demand::Nothing => return "accepted without signatures".to_owned(),
            Demand::Rejection => return "refused".to_owned(),
            Demand::Signatures(demand) => demand,
        };
        let mut words = format!("signed by {} of {}", demand.threshold, demand.keys.join(", "));
        if demand.min_serial > 0 {
            words.push_str(&format!(", serial number {} or higher", demand.min_serial));
        }
        if let Some(age) = demand.max_age {
            words.push_str(&format!(", not older than {}", humantime::format_duration(age)));
        }
        words
    }
}

/// Reasons why a policy cannot be used. Nothing is accepted then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustPolicyError {
    /// The policy is larger than any real one.
    #[error("it has {0} bytes; {POLICY_MAX} is the limit")]
    TooLarge(usize),
    /// The policy is not TOML with the keys of a policy.
    #[error("it is not a policy: {0}")]
    Toml(String),
    /// Another version of the format.
    #[error("it has version {0}; this program knows version {VERSION}")]
    Version(u32),
    /// A public key cannot be read.
    #[error("the key {name:?}: {reason}")]
    Key {
        /// Name of the key in the policy.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// One key has two names, so that it could count twice.
    #[error("the keys {first:?} and {second:?} are the same key; remove one of them")]
    SameKey {
        /// Name of the first of the two.
        first: String,
        /// Name of the second of the two.
        second: String,
    },
    /// The name of a rule is not a pattern.
    #[error("a rule: {0}")]
    Name(#[from] NamePatternError),
    /// A rule is invalid.
    #[error("the rule for {name:?}: {reason}")]
    Rule {
        /// The name pattern of the rule.
        name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    version: u32,
    #[serde(default)]
    default: DefaultText,
    #[serde(default)]
    enforce_expiry: ExpiryText,
    #[serde(default)]
    key: BTreeMap<String, KeyText>,
    #[serde(default)]
    rule: Vec<RuleText>,
    #[cfg(feature = "pkcs7")]
    #[serde(default)]
    commit: Vec<CommitRuleText>,
    #[cfg(not(feature = "pkcs7"))]
    #[serde(default)]
    commit: serde::de::IgnoredAny,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum DefaultText {
    Accept,
    #[default]
    Reject,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum ExpiryText {
    #[default]
    FirstUse,
    Mount,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    ssh: Option<String>,
    pkcs7: Option<String>,
    ostree: Option<String>,
    revoked: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    name: String,
    accept: Option<bool>,
    reject: Option<bool>,
    keys: Option<Vec<String>>,
    threshold: Option<usize>,
    min_serial: Option<u64>,
    max_age: Option<String>,
}

impl TrustPolicy {
    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// The bytes are too many or not a policy of this version, a key cannot be read or has two names, a rule names an
    /// unknown key or can never be met, or two rules have one name.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustPolicyError> {
        if bytes.len() > POLICY_MAX {
            return Err(TrustPolicyError::TooLarge(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| TrustPolicyError::Toml(error.to_string()))?;
        let text: PolicyText = toml::from_str(text).map_err(|error| TrustPolicyError::Toml(in_a_line(text, &error)))?;
        if text.version != VERSION {
            return Err(TrustPolicyError::Version(text.version));
        }
        let keys = keys(text.key)?;
        let mut rules: Vec<Rule> = Vec::with_capacity(text.rule.len());
        for rule in text.rule {
            let rule = read_rule(rule, &keys)?;
            if rules.iter().any(|other| other.name == rule.name) {
                return Err(rule_error(&rule.name, "another rule has the same name; join the two"));
            }
            rules.push(rule);
        }
        #[cfg(feature = "pkcs7")]
        let commit_rules = read_commit_rules(text.commit, &keys)?;
        #[cfg(not(feature = "pkcs7"))]
        let (commit_rules, serde::de::IgnoredAny) = (Vec::new(), text.commit);
        Ok(TrustPolicy {
            accepts_names_without_rule: text.default == DefaultText::Accept,
            judges_expiry_at_mount: text.enforce_expiry == ExpiryText::Mount,
            keys,
            rules,
            commit_rules,
        })
    }

    /// Returns the names of the keys, with the reasons of those that are revoked.
    pub fn keys(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.keys.iter().map(|(name, key)| (name.as_str(), key.revoked.as_deref()))
    }

    /// Returns the fingerprint of a key, as `ssh-keygen -l` prints it, that of a certificate, or a key of ostree.
    #[must_use]
    pub fn fingerprint(&self, key: &str) -> Option<String> {
        self.keys.get(key).map(|key| match &key.key {
            KeyMaterial::Ssh(key) => ssh::fingerprint(key),
            KeyMaterial::Pkcs7(certificate) => certificate.fingerprint().to_owned(),
            KeyMaterial::Ostree(key) => key.to_string(),
        })
    }

    /// Returns the signatures of a statement that keys of the policy have made which are not revoked.
    #[must_use]
    pub fn good_signatures(&self, evidence: &Evidence) -> Vec<Vec<u8>> {
        let names = || self.keys.iter().filter(|(_, key)| key.revoked.is_none());
        let is_good = |file: &[u8]| match evidence.only_digest() {
            Some(digest) => DigestSignature::parse(file).is_ok_and(|signature| {
                let certificates = names().filter_map(|(name, key)| Some((name, key.key.certificate()?)));
                let mut by = certificates.filter(|(_, certificate)| signature.is_by(certificate));
                by.any(|(name, certificate)| signature.check(name, certificate, &digest).is_ok())
            }),
            None => ssh::ParsedSignature::parse(file).is_ok_and(|signature| {
                let mut by = names().filter(|(_, key)| key.key.is_ssh_key(signature.key()));
                by.any(|(name, _)| signature.check(name, &evidence.statement).is_ok())
            }),
        };
        evidence.signatures.iter().filter(|file| is_good(file)).cloned().collect()
    }

    /// Returns the rules: the pattern of each, and what it asks for, in words.
    pub fn rules(&self) -> impl Iterator<Item = (&NamePattern, String)> {
        self.rules.iter().map(|rule| (&rule.name, rule.demand.in_words()))
    }

    /// Returns whether a name without a rule is accepted.
    #[must_use]
    pub fn accepts_names_without_rule(&self) -> bool {
        self.accepts_names_without_rule
    }

    /// Returns the rule that decides about a name, if that rule asks for signatures.
    #[must_use]
    pub fn signed_rule(&self, name: &str) -> Option<&NamePattern> {
        let rule = self.rule_for(name)?;
        matches!(rule.demand, Demand::Signatures(_)).then_some(&rule.name)
    }

    /// Returns the rule that decides about a name: of all that fit, the most exact one.
    pub(crate) fn rule_for(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().filter(|rule| rule.name.fits(name)).max_by_key(|rule| rule.name.exactness())
    }
}

fn keys(texts: BTreeMap<String, KeyText>) -> Result<BTreeMap<String, PolicyKey>, TrustPolicyError> {
    let mut keys = BTreeMap::<String, PolicyKey>::new();
    for (name, text) in texts {
        let key = KeyMaterial::parse(&text);
        let key = key.map_err(|reason| TrustPolicyError::Key { name: name.clone(), reason })?;
        if let Some((first, _)) = keys.iter().find(|(_, other)| other.key.is_same(&key)) {
            return Err(TrustPolicyError::SameKey { first: first.clone(), second: name });
        }
        keys.insert(name, PolicyKey { key, revoked: text.revoked });
    }
    Ok(keys)
}

fn read_rule(text: RuleText, known: &BTreeMap<String, PolicyKey>) -> Result<Rule, TrustPolicyError> {
    let name = NamePattern::new(&text.name)?;
    let asks = text.keys.is_some() || text.threshold.is_some() || text.min_serial.is_some() || text.max_age.is_some();
    match text.reject {
        Some(true) if asks || text.accept.is_some() => {
            return Err(rule_error(&name, "\"reject\" stands alone; remove it or the other keys"));
        }
        Some(true) => return Ok(Rule { name, demand: Demand::Rejection }),
        Some(false) => return Err(rule_error(&name, "\"reject\" can only be true; remove it")),
        None => {}
    }
    match text.accept {
        Some(true) if asks => return Err(rule_error(&name, "\"accept\" stands alone; remove it or the other keys")),
        Some(true) => return Ok(Rule { name, demand: Demand::Nothing }),
        Some(false) => return Err(rule_error(&name, "\"accept\" can only be true; remove it")),
        None => {}
    }
    let mut keys = text.keys.unwrap_or_default();
    keys.sort();
    keys.dedup();
    if let Some(unknown) = keys.iter().find(|key| !known.contains_key(*key)) {
        return Err(rule_error(&name, &format!("it names the key {unknown:?}; add a table [key.{unknown}]")));
    }
    let signs_commits = |key: &&String| known.get(*key).is_some_and(|key| matches!(key.key, KeyMaterial::Ostree(_)));
    if let Some(key) = keys.iter().find(signs_commits) {
        return Err(rule_error(
            &name,
            &format!("the key {key:?} signs commits of ostree; name it in a rule [[commit]]"),
        ));
    }
    let threshold = text.threshold.unwrap_or(1);
    if threshold == 0 || threshold > keys.len() {
        let reason = format!("its threshold is {threshold}, and it names {} keys", keys.len());
        return Err(rule_error(&name, &format!("{reason}; it can only be from 1 to the number of keys")));
    }
    let max_age = text.max_age.map(|age| humantime::parse_duration(&age).map_err(|_| age)).transpose();
    let max_age = max_age.map_err(|age| rule_error(&name, &format!("max_age {age:?} is not a time like \"90d\"")))?;
    let demand = SignatureDemand { keys, threshold, min_serial: text.min_serial.unwrap_or(0), max_age };
    let sign_digests =
        demand.keys.iter().filter(|key| known.get(*key).is_some_and(|key| key.key.certificate().is_some()));
    let sign_digests = sign_digests.count();
    let kinds = [sign_digests, demand.keys.len() - sign_digests];
    if kinds.iter().all(|count| *count < demand.threshold) {
        let reason = "its threshold needs keys of both kinds, whose signatures are never counted together";
        return Err(rule_error(&name, &format!("{reason}; name more keys of one kind, or lower it")));
    }
    if kinds[1] < demand.threshold && (demand.min_serial > 0 || demand.max_age.is_some()) {
        let reason = "keys that sign digests say nothing of serial numbers and times";
        return Err(rule_error(&name, &format!("{reason}; remove min_serial and max_age")));
    }
    Ok(Rule { name, demand: Demand::Signatures(demand) })
}

#[cfg(feature = "pkcs7")]
fn read_commit_rules(
    texts: Vec<CommitRuleText>,
    known: &BTreeMap<String, PolicyKey>,
) -> Result<Vec<CommitRule>, TrustPolicyError> {
    let mut rules: Vec<CommitRule> = Vec::with_capacity(texts.len());
    for CommitRuleText { name, mut keys, threshold } in texts {
        let name = NamePattern::new(&name)?;
        keys.sort();
        keys.dedup();
        for key in &keys {
            let reason = match known.get(key).map(|key| &key.key) {
                Some(KeyMaterial::Ostree(_)) => continue,
                Some(_) => format!("the key {key:?} signs no commits; name one with \"ostree\""),
                None => format!("it names the key {key:?}; add a table [key.{key}]"),
            };
            return Err(rule_error(&name, &reason));
        }
        let threshold = threshold.unwrap_or(1);
        if threshold == 0 || threshold > keys.len() {
            let reason = format!("its threshold is {threshold}, and it names {} keys", keys.len());
            return Err(rule_error(&name, &format!("{reason}; it can only be from 1 to the number of keys")));
        }
        if rules.iter().any(|other| other.name == name) {
            return Err(rule_error(&name, "another rule for commits has the same name; join the two"));
        }
        rules.push(CommitRule { name, keys, threshold });
    }
    Ok(rules)
}

/// Returns the message of an error in one line, with the number of the line it is about.
fn in_a_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or(message.clone(), |before| format!("line {}: {message}", before.matches('\n').count() + 1))
}

fn rule_error(name: &NamePattern, reason: &str) -> TrustPolicyError {
    TrustPolicyError::Rule { name: name.to_string(), reason: reason.to_owned() }
}
