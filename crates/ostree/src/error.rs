//! Errors of reading an ostree repository.

use std::io;
use std::path::PathBuf;

use libcomposefs_image::tree::TreeError;

use crate::id::Id;

/// Error of reading an ostree repository, with the file or object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path that the operation was applied to.
        path: PathBuf,
        /// Error returned by the kernel.
        source: io::Error,
    },
    /// The directory is not a repository, or one of an unsupported mode.
    #[error("{}: {reason}", path.display())]
    NotARepository {
        /// Path of the directory.
        path: PathBuf,
        /// The reason why it is not accepted.
        reason: String,
    },
    /// The branch or commit does not exist.
    #[error("{}: no ref or commit {name:?}: see `ostree refs`", path.display())]
    NoRef {
        /// Path of the repository.
        path: PathBuf,
        /// Name that was looked up.
        name: String,
    },
    /// A file of the repository is malformed.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// The rule that it breaks.
        reason: String,
    },
    /// The bytes of an object do not have the checksum in its name.
    #[error("{}: damaged: its content and metadata have the checksum {found}", path.display())]
    WrongId {
        /// Path of the object.
        path: PathBuf,
        /// Checksum of its bytes.
        found: Id,
    },
    /// An image cannot hold an object.
    #[error("{path}: {source}")]
    Tree {
        /// Path in the commit.
        path: String,
        /// The rule of images that it breaks.
        source: TreeError,
    },
    /// A directory has more entries than are accepted, including those of its subdirectories.
    #[error("{}: {entries} entries including all subdirectories, at most {limit} are accepted", path.display())]
    TooManyEntries {
        /// Path of the directory's object.
        path: PathBuf,
        /// Number of entries in the directory.
        entries: u64,
        /// Number of entries that are accepted.
        limit: u64,
    },
    /// Objects refer to each other so often that the tree would be far larger than the objects.
    #[error(
        "{}: with this object the tree has {bytes} bytes of names and attributes, from {read} bytes of objects: at \
         most {limit} are accepted ({times} times as many plus {always}), as a larger tree is probably made to \
         exhaust memory",
        path.display(), times = crate::limits::TIMES, always = crate::limits::ALWAYS
    )]
    TooLarge {
        /// Path of the object with which the limit is exceeded.
        path: PathBuf,
        /// Number of bytes that the tree would have.
        bytes: u64,
        /// Total bytes of the objects that were read.
        read: u64,
        /// Number of bytes that are accepted.
        limit: u64,
    },
    /// A content cannot be stored.
    #[error("{}: {source}", path.display())]
    Store {
        /// Path of the object with the content.
        path: PathBuf,
        /// Error of the object store.
        source: Box<libcomposefs_store::Error>,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Error::Io { path: path.into(), source: source.into() }
    }

    pub(crate) fn malformed(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Error::Malformed { path: path.into(), reason: reason.into() }
    }
}
