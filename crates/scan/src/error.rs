//! Errors of a scan.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use libcomposefs_image::tree::TreeError;

use libcomposefs_content::SinkError;

/// The operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// `lstat` or `fstat` of an entry.
    Stat,
    /// Opening a directory or file.
    Open,
    /// Reading the entries of a directory.
    List,
    /// Reading the content of a file.
    Read,
    /// Reading the target of a symlink.
    ReadLink,
    /// Reading the extended attributes of a file.
    Xattrs,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Stat => "cannot stat",
            Step::Open => "cannot open",
            Step::List => "cannot list",
            Step::Read => "cannot read",
            Step::ReadLink => "cannot read the link",
            Step::Xattrs => "cannot read the extended attributes of",
        })
    }
}

/// Error of a scan. If several threads fail at about the same time, the one with the smallest path is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{step} {}: {source}", path.display())]
    Io {
        /// The operation that failed.
        step: Step,
        /// Path that the operation was applied to.
        path: PathBuf,
        /// Error returned by the kernel. If the root of the scan is not a directory, `ENOTDIR`.
        source: io::Error,
    },
    /// A file changed its type or content while it was scanned.
    #[error("{} changed while it was being read", path.display())]
    ChangedWhileReading {
        /// Path of the changed file.
        path: PathBuf,
    },
    /// An image cannot hold this file.
    #[error("{}: {source}", path.display())]
    Tree {
        /// Path of the file.
        path: PathBuf,
        /// The rule of images that it breaks.
        source: TreeError,
    },
    /// The sink returned an error.
    #[error("{}: {source}", path.display())]
    Sink {
        /// Path of the file with the content.
        path: PathBuf,
        /// Error returned by the sink.
        source: SinkError,
    },
}

impl Error {
    /// Converts an error of the tree. A duplicate name means that the directory was changed while it was listed.
    pub(crate) fn from_tree(source: TreeError, path: impl FnOnce() -> PathBuf) -> Self {
        match source {
            TreeError::Duplicate(_) => Error::ChangedWhileReading { path: path() },
            source => Error::Tree { path: path(), source },
        }
    }

    /// Returns the path of the file: the root of the scan as given, and the path below it.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Error::Io { path, .. }
            | Error::ChangedWhileReading { path }
            | Error::Tree { path, .. }
            | Error::Sink { path, .. } => path,
        }
    }
}
