//! Errors in a dump: the line, the field and the rule that it breaks.

use std::fmt;

/// A field of a dump line, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
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

impl Field {
    /// The place in the line, from 1.
    #[must_use]
    pub fn number(self) -> usize {
        match self {
            Field::Path => 1,
            Field::Size => 2,
            Field::Mode => 3,
            Field::Nlink => 4,
            Field::Uid => 5,
            Field::Gid => 6,
            Field::Rdev => 7,
            Field::Mtime => 8,
            Field::Payload => 9,
            Field::Content => 10,
            Field::Digest => 11,
            Field::Xattr(index) => 12 + index,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Field::Path => "PATH",
            Field::Size => "SIZE",
            Field::Mode => "MODE",
            Field::Nlink => "NLINK",
            Field::Uid => "UID",
            Field::Gid => "GID",
            Field::Rdev => "RDEV",
            Field::Mtime => "MTIME",
            Field::Payload => "PAYLOAD",
            Field::Content => "CONTENT",
            Field::Digest => "DIGEST",
            Field::Xattr(_) => "XATTR",
        }
    }
}

impl fmt::Display for Field {
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
pub struct DumpError {
    /// The line, from 1.
    pub line: u64,
    /// The field of that line.
    pub field: Field,
    /// The message of the reference implementation.
    pub message: String,
    /// The rule that is broken, or what to do.
    pub rule: &'static str,
}

/// A defect whose line is added by the caller.
#[derive(Debug)]
pub(crate) struct Defect {
    pub(crate) field: Field,
    pub(crate) message: String,
    pub(crate) rule: &'static str,
}

impl Defect {
    pub(crate) fn new(field: Field, message: impl Into<String>, rule: &'static str) -> Self {
        Self { field, message: message.into(), rule }
    }

    pub(crate) fn at(self, line: u64) -> DumpError {
        DumpError { line, field: self.field, message: self.message, rule: self.rule }
    }
}
