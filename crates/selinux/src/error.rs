//! The errors of reading a policy and of finding labels.

use std::error::Error;

/// Greatest size of a file of a policy, in bytes. `file_contexts` of Fedora has half a megabyte.
pub const FILE_MAX: u64 = 8 << 20;

/// Reasons why no labels can be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// A file of the policy cannot be read.
    #[error("read {path} of the tree")]
    Read {
        /// Path in the tree.
        path: String,
        /// The reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file of the policy is larger than any real one.
    #[error("{path} has more than {FILE_MAX} bytes, which is the limit for a file of an SELinux policy")]
    TooLarge {
        /// Path in the tree.
        path: String,
    },
    /// The configuration names a policy that the tree does not have.
    #[error(
        "{path} is missing: /etc/selinux/config names this policy; install the policy, or remove SELINUXTYPE from that \
         file"
    )]
    NoPolicy {
        /// Path in the tree.
        path: String,
    },
    /// The name of the policy is not a name.
    #[error("/etc/selinux/config has SELINUXTYPE={name:?}: expected the name of a directory in /etc/selinux")]
    Name {
        /// Value of `SELINUXTYPE`.
        name: String,
    },
    /// A line cannot be understood.
    #[error("{path}, line {line}: {rule}")]
    Line {
        /// Path in the tree.
        path: String,
        /// Number of the line, from 1.
        line: usize,
        /// The rule that the line breaks.
        rule: LineRule,
    },
    /// The policy has more rules than any real one.
    #[error("the SELinux policy has more than {max} rules")]
    TooManyRules {
        /// The limit.
        max: usize,
    },
    /// The patterns need too much memory.
    #[error("the patterns of the SELinux policy need more memory than is allowed: {reason}")]
    TooComplex {
        /// What the compiler of the patterns says.
        reason: String,
    },
    /// A match takes too many steps.
    #[error("{path:?} is not matched by the patterns of the SELinux policy within the allowed steps: {reason}")]
    GaveUp {
        /// Path that was looked up.
        path: String,
        /// What the matcher says.
        reason: String,
    },
}

/// The rule that a line of a policy breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineRule {
    /// The number of fields is wrong.
    #[error("{found} fields: expected PATTERN [-TYPE] CONTEXT")]
    Fields {
        /// Number of fields found.
        found: usize,
    },
    /// The second of three fields is no type of file.
    #[error("{found:?} is no type of file: expected -b, -c, -d, -p, -l, -s or --")]
    Type {
        /// The field.
        found: String,
    },
    /// A substitution has not two fields.
    #[error("{found} fields: expected ALIAS ORIGINAL")]
    Substitution {
        /// Number of fields found.
        found: usize,
    },
    /// The bytes are no text.
    #[error("the line is not UTF-8")]
    NotText,
    /// The pattern is no regular expression.
    #[error("the pattern {pattern:?} is no regular expression: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What the parser says.
        reason: String,
    },
}
