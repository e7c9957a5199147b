//! Errors of operands that name no image, or a damaged one.

use std::path::Path;

use anyhow::anyhow;
use libcomposefs_image::Digest;
use libcomposefs_repo::RepositoryError;

use crate::error_text::{message, with_remedy};
use crate::inspect::names::shell_word;

/// Builds the error for an operand that is no file and cannot be looked up in the repository.
pub(super) fn no_repository(operand: &Path, error: &anyhow::Error) -> anyhow::Error {
    anyhow!("{}: no such file, and no repository to look it up in: {}", operand.display(), message(error))
}

/// Builds the error for an operand that is no file and was looked up in the repository.
pub(super) fn no_image(operand: &Path, error: RepositoryError) -> anyhow::Error {
    let operand = operand.display();
    match &error {
        RepositoryError::NoSuchRef { path, .. } => {
            anyhow!("{operand}: no such file, and no ref or OCI image of that name in {}", path.display())
        }
        RepositoryError::NoSuchImage { path, .. } => {
            anyhow!("{operand}: no such file, and no image of that digest in {}", path.display())
        }
        _ => error.into(),
    }
}

/// Builds the error for an image of the repository at `path` whose object has another digest.
pub(super) fn damaged(operand: &Path, expected: &Digest, found: &Digest, path: Option<&Path>) -> anyhow::Error {
    let error = format!("{}: the image is damaged: its digest is {found}, expected {expected}", operand.display());
    match path {
        Some(path) => with_remedy(error, format!("composefs --repo={} fsck", shell_word(path))),
        None => anyhow!(error),
    }
}
