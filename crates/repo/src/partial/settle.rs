//! The end of a partial image: it was published, so its names and its entry go.

use libcomposefs_image::Digest;

use super::directory::PartialDir;
use crate::lease::Lease;
use crate::lock::Locked;
use crate::{RefName, Repository, RepositoryError, layout, refs};

/// Removes the entries of images that were just published, and the partial names that were just given to an image.
/// Other names of a published image move to `images/refs`, unless an image has them already. The entry goes last, so
/// that a crash leaves it to the next gc, which does the same.
pub(crate) fn settle(
    repository: &Repository,
    lease: &Lease,
    locked: &Locked,
    images: &[Digest],
    names: &[&RefName],
) -> Result<(), RepositoryError> {
    let Some(partial) = PartialDir::open(&repository.dir)? else { return Ok(()) };
    for name in names {
        repository.remove_ref(layout::PARTIAL_REFS, name)?;
    }
    for digest in images {
        if partial.has(digest)? {
            finish(repository, lease, locked, &partial, digest)?;
        }
    }
    Ok(())
}

/// Moves the names of a published image that no image has, and removes its entry.
pub(super) fn finish(
    repository: &Repository,
    lease: &Lease,
    _locked: &Locked,
    partial: &PartialDir,
    digest: &Digest,
) -> Result<(), RepositoryError> {
    for (name, _) in repository.partial_refs()?.into_iter().filter(|(_, named)| named == digest) {
        if matches!(repository.read_ref(&name), Ok(None)) {
            match refs::write::write_to(&repository.dir, layout::IMAGE_REFS, lease, &name, digest) {
                // Another name is a directory of this one, and only one of them can exist.
                Ok(_) | Err(RepositoryError::NameInTheWay { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        repository.remove_ref(layout::PARTIAL_REFS, &name)?;
    }
    partial.remove(&digest.to_hex())
}
