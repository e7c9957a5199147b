//! Why a scan ends without a tree.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use libcomposefs_image::tree::TreeError;

use libcomposefs_content::SinkError;

/// What was being done when the kernel said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `lstat` or `fstat`.
    Stat,
    /// Opening a directory or file.
    Open,
    /// Reading the entries of a directory.
    List,
    /// Reading the content of a file.
    Read,
    /// Reading the target of a symlink.
    ReadLink,
    /// Reading extended attributes.
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

/// Why a scan failed. When several threads meet errors at about the same time it is the one with the smallest path.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a step.
    #[error("{step} {}: {source}", path.display())]
    Io {
        /// What was being done.
        step: Step,
        /// To what.
        path: PathBuf,
        /// The kernel's answer. What is to be scanned but is no directory gives `ENOTDIR`.
        source: io::Error,
    },
    /// Something became another thing, or its content changed, between the first look at it and the last.
    #[error("{} changed while it was being read", path.display())]
    ChangedWhileReading {
        /// What changed.
        path: PathBuf,
    },
    /// An image cannot hold this.
    #[error("{}: {source}", path.display())]
    Tree {
        /// Where it is.
        path: PathBuf,
        /// The rule it breaks.
        source: TreeError,
    },
    /// The sink did not take the content.
    #[error("{}: {source}", path.display())]
    Sink {
        /// Whose content it is.
        path: PathBuf,
        /// What the sink says.
        source: SinkError,
    },
}

impl Error {
    /// What the tree model refuses. Two entries of one name are what a directory can show that is changed while it is
    /// listed.
    pub(crate) fn from_tree(source: TreeError, path: impl FnOnce() -> PathBuf) -> Self {
        match source {
            TreeError::Duplicate(_) => Error::ChangedWhileReading { path: path() },
            source => Error::Tree { path: path(), source },
        }
    }

    /// The path it happened at: the scanned directory as it was given, and what follows below it.
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
