//! The error of a configuration file in TOML.

use std::io;
use std::path::PathBuf;

/// The error of registries.conf or storage.conf.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfError {
    /// A file or directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Path of the file or directory.
        path: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} is not valid: {reason}", path.display())]
    Invalid {
        /// Path of the file.
        path: PathBuf,
        /// Reason, with the place in the file.
        reason: String,
    },
}
