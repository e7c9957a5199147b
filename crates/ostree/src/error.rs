//! Why a repository of ostree is not read.

use std::io;
use std::path::PathBuf;

use composefs_image::tree::TreeError;

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
    /// The commit has more than can be held.
    #[error("commit {commit}: more than {limit} {what}: it was made to exhaust memory, or is no file system tree")]
    TooMuch {
        /// The commit.
        commit: Id,
        /// What there is too much of.
        what: &'static str,
        /// How much is taken.
        limit: usize,
    },
    /// A content cannot be stored.
    #[error("{}: {source}", path.display())]
    Store {
        /// The object it comes from.
        path: PathBuf,
        /// Why not.
        source: Box<composefs_store::Error>,
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
