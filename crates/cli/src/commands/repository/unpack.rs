//! Unpacking cold images, for the commands that need them.

use std::num::NonZeroUsize;

use anyhow::Context as _;
use libcomposefs_repo::cold::Thawed;
use libcomposefs_repo::{ImageName, ImportOptions, ObjectSource, Repository};

use super::progress;
use crate::rlimits;

/// Unpacks the image of a name if it is cold.
pub(super) fn unpack_if_cold(repository: &Repository, name: &ImageName) -> anyhow::Result<()> {
    // A ref that cannot be read is reported where it is followed.
    if let Ok(Some(_)) = repository.cold_image(name) {
        tell!("composefs: unpacking {name}, which is cold");
        unpack(repository, name, rlimits::threads(None))?;
    }
    Ok(())
}

/// Unpacks a cold image; `None` if it is not cold any more.
pub(super) fn unpack(
    repository: &Repository,
    image: &ImageName,
    threads: NonZeroUsize,
) -> anyhow::Result<Option<Thawed>> {
    let progress = progress::ObjectProgress::start();
    let progress = |bytes| progress.done(bytes);
    let options = ImportOptions { objects: ObjectSource::None, rewrite: false, threads, progress: &progress };
    repository.thaw(image, &options).context("cannot unpack a cold image")
}
