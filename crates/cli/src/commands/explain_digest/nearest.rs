//! Finds the policy whose tree comes closest to the expected tree.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use libcomposefs_image::diff::{Field, Options, diff};
use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_image::policy::Policy;
use libcomposefs_image::threads::with_helpers;
use libcomposefs_image::tree::Tree;

use super::expected::ExpectedTree;
use super::search::Note;
use super::source::DigestSource;

/// Trees and policies to compare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nearest<'a> {
    pub(super) source: &'a DigestSource,
    pub(super) policies: &'a [Policy],
    pub(super) expected: &'a ExpectedTree,
    pub(super) threads: NonZeroUsize,
}

/// Distance of a policy's tree: number of entries that differ, then of fields that do.
type Distance = (usize, usize);

impl Nearest<'_> {
    /// Returns the first policy with the fewest differences, and its tree; `None` if no policy can be tried.
    pub(super) fn find(&self, note: Note<'_>) -> Option<(Policy, Tree)> {
        let (next, best) = (AtomicUsize::new(0), Mutex::new(None::<(Distance, usize)>));
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(policy) = self.policies.get(index) else { break };
                if let Some(tree) = self.tree_of(policy) {
                    let found = Some((distance(&tree, &self.expected.tree), index));
                    let mut best = best.lock().unwrap_or_else(PoisonError::into_inner);
                    *best = [*best, found].into_iter().flatten().min();
                }
                note();
            }
        };
        let useful = NonZeroUsize::new(self.policies.len()).unwrap_or(NonZeroUsize::MIN);
        with_helpers(self.threads.min(useful), work, work);
        let (_, index) = best.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        let policy = self.policies[index];
        Some((policy, self.tree_of(&policy)?))
    }

    /// Returns the tree that a policy makes. If the expected tree comes from an image, converts this one through an
    /// image too, so that both have the marks on directories of whiteouts.
    fn tree_of(&self, policy: &Policy) -> Option<Tree> {
        let tree = self.source.apply(policy).ok()?;
        if !self.expected.is_image() || !tree.has_whiteout() {
            return Some(tree);
        }
        let mut image = Vec::new();
        policy.plan(&tree).ok()?.write(&mut image).ok()?;
        Some(load(&ImageReader::new(&image).ok()?, &[]).ok()?.tree)
    }
}

fn distance(ours: &Tree, wanted: &Tree) -> Distance {
    let found = diff(ours, wanted, &Options::default());
    let counts = found.counts();
    let fields = Field::ALL.into_iter().map(|field| counts.field(field)).sum();
    (counts.differing(), fields)
}
