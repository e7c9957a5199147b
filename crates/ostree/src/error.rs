//! Why a repository of ostree is not read.

use std::io;
use std::path::PathBuf;

use libcomposefs_image::tree::TreeError;

use crate::id::Id;

/// What is wrong, with which file or object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something.
    #[error("{}: {source}", path.display())]
    Io {
        /// Of what.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// The directory is no repository, or one of a kind that is not read.
    #[error("{}: {reason}", path.display())]
    NotARepository {
        /// The directory.
        path: PathBuf,
        /// What is missing, or what else it is.
        reason: String,
    },
    /// There is no such branch or commit.
    #[error("{}: no ref or commit {name:?}: `ostree refs` lists what there is", path.display())]
    NoRef {
        /// The repository.
        path: PathBuf,
        /// What was asked for.
        name: String,
    },
    /// A file of the repository says something that it cannot say.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An object is not what its name says.
    #[error("{}: damaged: its content and metadata have the checksum {found}", path.display())]
    WrongId {
        /// The object.
        path: PathBuf,
        /// What it is.
        found: Id,
    },
    /// An object has no place in an image.
    #[error("{path}: {source}")]
    Tree {
        /// The path in the commit.
        path: String,
        /// The rule it breaks.
        source: TreeError,
    },
    /// A directory has more entries than are taken, counted with all below it.
    #[error("{}: {entries} entries with all that is below it, at most {limit} are taken", path.display())]
    TooManyEntries {
        /// The object of the directory.
        path: PathBuf,
        /// How many there would be.
        entries: u64,
        /// How many are taken.
        limit: u64,
    },
    /// Objects name each other so often that the tree would be far larger than they are.
    #[error(
        "{}: with it the tree has {bytes} bytes of names and attributes, made of {read} bytes of objects: at most {limit} are \
         taken, {times} times as many and {always}, as it was probably made to exhaust memory",
        path.display(), times = crate::tree_size::TIMES, always = crate::tree_size::ALWAYS
    )]
    TooLarge {
        /// The object with which it is too much.
        path: PathBuf,
        /// How much it would be.
        bytes: u64,
        /// The bytes of all objects that were read.
        read: u64,
        /// How much is taken.
        limit: u64,
    },
    /// A content cannot be stored.
    #[error("{}: {source}", path.display())]
    Store {
        /// The object it comes from.
        path: PathBuf,
        /// Why not.
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
