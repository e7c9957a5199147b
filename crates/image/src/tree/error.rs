//! Errors of building a tree.

use super::xattrs::XattrError;
use super::{MAX_INLINE, MAX_NAME, MAX_PATH};
use crate::digest::Algorithm;

/// Reasons why an inode or entry is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The type bits of the mode mean nothing.
    #[error("mode {0:o} has no valid file type")]
    Mode(u32),
    /// The parent is not a directory.
    #[error("the parent is not a directory")]
    ParentNotDirectory,
    /// The name is empty, `.`, `..`, too long, or holds a slash or NUL.
    #[error("invalid name {0:?}: 1 to {MAX_NAME} bytes without slash and NUL, not . or ..")]
    Name(String),
    /// The directory has such an entry already.
    #[error("the directory has an entry {0:?} already")]
    Duplicate(String),
    /// A symlink's target is missing, empty or too long.
    #[error("symlink target of {0} bytes: 1 to {MAX_PATH} are allowed")]
    SymlinkTarget(usize),
    /// A payload is too long.
    #[error("payload of {0} bytes: at most {MAX_PATH} are allowed")]
    Payload(usize),
    /// The content has another length than the size says.
    #[error("content of {content} bytes for a size of {size}")]
    ContentSize {
        /// Length of the content.
        content: usize,
        /// The size that was given.
        size: u64,
    },
    /// The content is too long to stand in the image.
    #[error("content of {0} bytes: at most {MAX_INLINE} can be kept in the image")]
    ContentTooLong(usize),
    /// The digest is of another algorithm than the tree's.
    #[error("a {found} digest in a tree of {expected} digests")]
    DigestAlgorithm {
        /// The algorithm of the digest.
        found: Algorithm,
        /// The algorithm of the tree.
        expected: Algorithm,
    },
    /// The xattrs break a limit.
    #[error(transparent)]
    Xattr(#[from] XattrError),
    /// A hard link to a directory.
    #[error("a hard link cannot name a directory")]
    LinkToDirectory,
    /// More than two billion inodes or entries.
    #[error("the tree has too many inodes")]
    TooManyInodes,
}
