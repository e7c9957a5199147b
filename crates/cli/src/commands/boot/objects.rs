//! The check that an image can be booted: all of its objects are in the repository, and sealed where that is demanded.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use libcomposefs_image::Digest;
use libcomposefs_image::tree::Tree;
use libcomposefs_repo::Repository;

/// Most problems that are kept.
const LISTED: usize = 10;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct ObjectCheck {
    /// Number of objects of the image, and the image itself.
    pub(super) count: u64,
    /// Number of objects that are missing, have another length, or have no fs-verity.
    pub(super) wrong: u64,
    /// The first of the problems.
    pub(super) problems: Vec<String>,
}

/// Checks the image and its objects, without reading contents. With `needs_verity`, the kernel must verify each.
pub(super) fn check_objects(
    repository: &Repository,
    digest: &Digest,
    tree: &Tree,
    needs_verity: bool,
    interrupt: &AtomicBool,
) -> anyhow::Result<ObjectCheck> {
    let mut check = ObjectCheck::default();
    let mut seen = HashSet::new();
    let objects = tree.objects().map(|object| (object.digest, Some(object.size)));
    for (object, size) in std::iter::once((*digest, None)).chain(objects) {
        if !seen.insert(object) {
            continue;
        }
        if interrupt.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        check.count += 1;
        if let Err(problem) = check_object(repository, &object, size, needs_verity) {
            check.wrong += 1;
            if check.problems.len() < LISTED {
                check.problems.push(format!("{problem:#}"));
            }
        }
    }
    Ok(check)
}

fn check_object(repository: &Repository, digest: &Digest, size: Option<u64>, needs_verity: bool) -> anyhow::Result<()> {
    let object = repository.object(digest)?;
    if let Some(size) = size {
        object.expect_size(size)?;
    }
    if needs_verity && !object.kernel_vouches(digest)? {
        bail!("{}: the object has no fs-verity with its digest", object.path().display());
    }
    Ok(())
}
