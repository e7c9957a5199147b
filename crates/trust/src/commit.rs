//! The decision about commits of ostree: whether keys of a policy have signed one that becomes the image of a name.

use crate::commit_rule::CommitRule;
use crate::name_pattern::NamePattern;
use crate::policy::{KeyMaterial, PolicyKey, TrustPolicy};

/// Why a commit may become the image of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitAcceptance {
    /// The name pattern of the rule.
    pub rule: NamePattern,
    /// The keys that have signed, by their names in the policy, sorted.
    pub keys: Vec<String>,
}

/// Why a commit may not become the image of a name: too few keys of the rule have signed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the rule {rule} for commits asks for {threshold} of the keys {}, and {}{}", named.join(", "), signed_by(signed),
    revoked_keys(revoked)
)]
#[non_exhaustive]
pub struct CommitRefusal {
    /// The name pattern of the rule.
    pub rule: NamePattern,
    /// How many keys must have signed.
    pub threshold: usize,
    /// The keys that the rule names.
    pub named: Vec<String>,
    /// The keys that have signed.
    pub signed: Vec<String>,
    /// The keys that have signed and are revoked, with the reasons.
    pub revoked: Vec<(String, String)>,
}

fn signed_by(keys: &[String]) -> String {
    if keys.is_empty() { "none has signed the commit".to_owned() } else { format!("{} signed it", keys.join(", ")) }
}

fn revoked_keys(keys: &[(String, String)]) -> String {
    keys.iter().map(|(key, reason)| format!("; the key {key} signed it and is revoked: {reason}")).collect()
}

impl TrustPolicy {
    /// Returns whether a rule for commits is about a name.
    #[must_use]
    pub fn has_commit_rule(&self, name: &str) -> bool {
        self.commit_rule(name).is_some()
    }

    /// Returns the rules for commits: the pattern of each, and what it asks for, in words.
    pub fn commit_rules(&self) -> impl Iterator<Item = (&NamePattern, String)> {
        let words = |rule: &CommitRule| format!("signed by {} of {}", rule.threshold, rule.keys.join(", "));
        self.commit_rules.iter().map(move |rule| (&rule.name, words(rule)))
    }

    fn commit_rule(&self, name: &str) -> Option<&CommitRule> {
        self.commit_rules.iter().filter(|rule| rule.name.fits(name)).max_by_key(|rule| rule.name.exactness())
    }

    /// Decides whether a commit may become the image of a name; `None` if no rule is about the name.
    ///
    /// `commit` are the bytes of the commit whose checksum the caller has verified.
    ///
    /// # Errors
    ///
    /// Too few keys of the rule have signed the commit.
    pub fn judge_commit(
        &self,
        name: &str,
        commit: &[u8],
        signatures: &[Vec<u8>],
    ) -> Result<Option<CommitAcceptance>, CommitRefusal> {
        let Some(rule) = self.commit_rule(name) else { return Ok(None) };
        let (mut signed, mut revoked) = (Vec::new(), Vec::new());
        for name in &rule.keys {
            let Some(PolicyKey { key: KeyMaterial::Ostree(key), revoked: reason }) = self.keys.get(name) else {
                continue;
            };
            if key.has_signed(commit, signatures) {
                match reason {
                    Some(reason) => revoked.push((name.clone(), reason.clone())),
                    None => signed.push(name.clone()),
                }
            }
        }
        let pattern = rule.name.clone();
        if signed.len() >= rule.threshold {
            return Ok(Some(CommitAcceptance { rule: pattern, keys: signed }));
        }
        let (threshold, named) = (rule.threshold, rule.keys.clone());
        Err(CommitRefusal { rule: pattern, threshold, named, signed, revoked })
    }
}
