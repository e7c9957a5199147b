//! The error of operations on cold images.

use std::path::PathBuf;

use libcomposefs_image::Digest;

use crate::{ImageName, RepositoryError};

/// Error of an operation on cold images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ColdError {
    /// The image cannot be made cold.
    #[error("cannot make {image} cold: {reason}")]
    Refused {
        /// The image, as the caller named it.
        image: String,
        /// The rule, and what to do.
        reason: String,
    },
    /// No cold image has this name or digest.
    #[error("no cold image is called {image} in {}", path.display())]
    NoSuchImage {
        /// The unknown name.
        image: String,
        /// Path of the repository.
        path: PathBuf,
    },
    /// The file that describes a cold image cannot be used.
    #[error("cannot use {}: {reason}", path.display())]
    Entry {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The pack of a cold image gives another image.
    #[error("{} has the image {found}, not {expected}: it is damaged", path.display())]
    OtherImage {
        /// Path of the pack.
        path: PathBuf,
        /// Digest of the cold image.
        expected: Box<Digest>,
        /// Digest of the image in the pack.
        found: String,
    },
    /// The repository cannot be read or written, or the pack is damaged.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// Formats a name as the user has typed it.
pub(super) fn shown(image: &ImageName) -> String {
    match image {
        ImageName::Ref(name) => name.to_string(),
        ImageName::Digest(digest) => digest.to_hex(),
    }
}
