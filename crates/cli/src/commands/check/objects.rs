//! Collects and verifies the objects that images need.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use libcomposefs_image::tree::Tree;
use libcomposefs_store::{Basedirs, ObjectError, ObjectRef, VerifyReport, verify_objects};

use crate::output;

/// Inodes that need an object.
#[derive(Clone, Debug)]
pub(super) struct Needers {
    /// Path of the first inode.
    pub(super) first: Vec<u8>,
    /// Number of inodes that need the object.
    pub(super) count: u64,
}

/// Objects needed by the images, each once.
#[derive(Default)]
pub(super) struct Wanted {
    numbers: HashMap<ObjectRef<'static>, usize>,
    needers: Vec<Needers>,
}

impl Wanted {
    /// Adds the objects of a tree. Files that do not name their object are a defect of the image, so they are skipped.
    pub(super) fn add(&mut self, tree: &Tree) {
        let places = tree.places();
        for payload in tree.payloads().filter(|payload| !payload.is_inline && payload.size > 0) {
            let needed =
                ObjectRef { payload: payload.path().into_owned().into(), size: payload.size, digest: payload.digest() };
            match self.numbers.get(&needed) {
                Some(number) => self.needers[*number].count += 1,
                None => {
                    self.numbers.insert(needed, self.needers.len());
                    let mut first = Vec::new();
                    places.push_path(payload.inode, &mut first);
                    self.needers.push(Needers { first, count: 1 });
                }
            }
        }
    }
}

/// Result of verifying the objects.
pub(super) struct Objects {
    pub(super) count: usize,
    pub(super) verified: VerifyReport,
    needers: Vec<Needers>,
}

impl Objects {
    /// Verifies all objects, with a progress bar on a terminal.
    pub(super) fn verify(basedirs: &Basedirs, wanted: Wanted, read: bool, threads: NonZeroUsize) -> Self {
        let Wanted { numbers, needers } = wanted;
        let mut needed: Vec<_> = numbers.into_iter().collect();
        needed.sort_unstable_by_key(|(_, number)| *number);
        let needed: Vec<ObjectRef<'_>> = needed.into_iter().map(|(needed, _)| needed).collect();
        let all = needed.iter().fold(0u64, |all, needed| all.saturating_add(needed.size));
        let bar = output::bar("{bar:30} {bytes} of {total_bytes} of objects, {elapsed}", all);
        let verified = verify_objects(basedirs, &needed, read, threads, &|bytes| bar.inc(bytes));
        bar.finish_and_clear();
        Self { count: needed.len(), verified, needers }
    }

    pub(super) fn are_right(&self) -> bool {
        self.verified.wrong.is_empty()
    }

    /// Returns the problems, with the inodes that need the object.
    pub(super) fn wrong(&self) -> impl Iterator<Item = (&ObjectError, &Needers)> {
        self.verified.wrong.iter().map(|(number, error)| (error, &self.needers[*number]))
    }
}
