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

#[cfg(feature = "pkcs7")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitRuleText {
    pub(crate) name: String,
    pub(crate) keys: Vec<String>,
    pub(crate) threshold: Option<usize>,
}
