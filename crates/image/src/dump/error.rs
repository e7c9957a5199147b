//! Errors in a dump: the line, the field and the rule that it breaks.

use std::fmt;

/// A field of a dump line, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DumpField {
    /// Field 1, the path.
    Path,
    /// Field 2, the size.
    Size,
    /// Field 3, the mode.
    Mode,
    /// Field 4, the link count.
    Nlink,
    /// Field 5, the user ID.
    Uid,
    /// Field 6, the group ID.
    Gid,
    /// Field 7, the device number.
    Rdev,
    /// Field 8, the time of modification.
    Mtime,
    /// Field 9, the payload.
    Payload,
    /// Field 10, the content.
    Content,
    /// Field 11, the digest.
    Digest,
    /// Field 12 and later: the first extended attribute is 0.
    Xattr(usize),
}

impl DumpField {
    /// The place in the line, from 1.
    #[must_use]
    pub fn number(self) -> usize {
        match self {
            DumpField::Path => 1,
            DumpField::Size => 2,
            DumpField::Mode => 3,
            DumpField::Nlink => 4,
            DumpField::Uid => 5,
            DumpField::Gid => 6,
            DumpField::Rdev => 7,
            DumpField::Mtime => 8,
            DumpField::Payload => 9,
            DumpField::Content => 10,
            DumpField::Digest => 11,
            DumpField::Xattr(index) => 12 + index,
        }
    }

    fn name(self) -> &'static str {
        match self {
            DumpField::Path => "PATH",
            DumpField::Size => "SIZE",
            DumpField::Mode => "MODE",
            DumpField::Nlink => "NLINK",
            DumpField::Uid => "UID",
            DumpField::Gid => "GID",
            DumpField::Rdev => "RDEV",
            DumpField::Mtime => "MTIME",
            DumpField::Payload => "PAYLOAD",
            DumpField::Content => "CONTENT",
            DumpField::Digest => "DIGEST",
            DumpField::Xattr(_) => "XATTR",
        }
    }
}

impl fmt::Display for DumpField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "field {} ({})", self.number(), self.name())
    }
}

/// A dump that is refused.
///
/// The message is in two parts: the words that the C tool has for the case, which scripts may look for, then the
/// rule in ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, {field}: {message}{separator}{rule}", separator = if rule.is_empty() { "" } else { ": " })]
#[non_exhaustive]
pub struct DumpError {
    /// The line, from 1.
    pub line: u64,
    /// The field of that line.
    pub field: DumpField,
    /// The message of the reference implementation.
    pub message: String,
    /// The rule that is broken, or what to do.
    pub rule: &'static str,
}

/// A defect whose line is added by the caller.
#[derive(Debug)]
pub(crate) struct LineDefect {
    pub(crate) field: DumpField,
    pub(crate) message: String,
    pub(crate) rule: &'static str,
}

impl LineDefect {
    pub(crate) fn new(field: DumpField, message: impl Into<String>, rule: &'static str) -> Self {
        Self { field, message: message.into(), rule }
    }

    pub(crate) fn at(self, line: u64) -> DumpError {
        DumpError { line, field: self.field, message: self.message, rule: self.rule }
    }
}
