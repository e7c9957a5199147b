//! The rules `[[commit]]` of a policy.

#[cfg(feature = "pkcs7")]
use serde::Deserialize;

use crate::name_pattern::NamePattern;

/// A rule for commits that become images of names.
#[derive(Clone, Debug)]
pub(crate) struct CommitRule {
    pub(crate) name: NamePattern,
    pub(crate) keys: Vec<String>,
    pub(crate) threshold: usize,
}

/// The rules as a policy has them.
#[cfg(feature = "pkcs7")]
pub(crate) type CommitRuleTexts = Vec<CommitRuleText>;
/// The rules of a policy in a build that verifies no commits: they are not read.
#[cfg(not(feature = "pkcs7"))]
pub(crate) type CommitRuleTexts = serde::de::IgnoredAny;

#[cfg(feature = "pkcs7")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitRuleText {
    pub(crate) name: String,
    pub(crate) keys: Vec<String>,
    pub(crate) threshold: Option<usize>,
}
