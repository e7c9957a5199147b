//! The signatures of an image that `composefs sync` copies.

use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;
use serde_json::Value;

use super::counted;

/// Copies the signatures of an image, and adds their number to the line and the object about the image.
pub(crate) fn copy_signatures(
    repository: &Repository,
    other: &Repository,
    digests: &[Digest],
    line: &mut String,
    json: &mut Value,
) -> anyhow::Result<()> {
    let mut signatures = 0;
    for digest in digests {
        signatures += repository.copy_signatures(other, digest)?;
    }
    if signatures > 0 {
        line.push_str(&format!(", {}", counted(signatures as u64, "new signature")));
    }
    json["signatures"] = signatures.into();
    Ok(())
}
