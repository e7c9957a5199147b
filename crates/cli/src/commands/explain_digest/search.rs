//! Computes the digests of policies in parallel.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use libcomposefs_image::Digest;
use libcomposefs_image::policy::Policy;
use libcomposefs_image::threads::with_helpers;

use super::source::DigestSource;

/// Result of a policy.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    pub(super) policy: Policy,
    /// Digest of the image, or the reason why there is no such image.
    pub(super) digest: Result<Digest, String>,
}

/// Callback for every policy that was tried.
pub(super) type Note<'a> = &'a (dyn Fn() + Sync);

/// Policies to try, and the condition to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search<'a> {
    pub(super) source: &'a DigestSource,
    pub(super) policies: &'a [Policy],
    /// Digest at which the search stops.
    pub(super) until: Option<Digest>,
    pub(super) threads: NonZeroUsize,
}

impl Search<'_> {
    /// Tries the policies in order until the search can stop. Returns the tried policies in that order.
    pub(super) fn run(&self, note: Note<'_>) -> Vec<Tried> {
        let groups = groups(self.policies);
        let (next, found, tried) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(Vec::new()));
        let work = || {
            while !found.load(Ordering::Relaxed)
                && let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed))
            {
                for (index, result) in self.try_group(group, note) {
                    if self.until.is_some() && result.digest.as_ref().ok() == self.until.as_ref() {
                        found.store(true, Ordering::Relaxed);
                    }
                    tried.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            }
        };
        let useful = NonZeroUsize::new(groups.len()).unwrap_or(NonZeroUsize::MIN);
        with_helpers(self.threads.min(useful), work, work);
        let mut tried = tried.into_inner().unwrap_or_else(PoisonError::into_inner);
        tried.sort_by_key(|(index, _)| *index);
        tried.into_iter().map(|(_, tried)| tried).collect()
    }

    /// Tries policies that differ in the version only: they share a tree.
    fn try_group(&self, group: &[usize], note: Note<'_>) -> Vec<(usize, Tried)> {
        let first = Policy { version: 0, ..self.policies[group[0]] };
        let applied = self.source.apply(&first);
        let digest = |policy: Policy| {
            let applied = applied.as_ref().map_err(String::clone)?;
            let image = policy.plan(applied).map_err(|error| error.to_string())?;
            Ok(image.digest(policy.algorithm))
        };
        let tries = group.iter().map(|&index| {
            let policy = self.policies[index];
            let tried = Tried { policy, digest: digest(policy) };
            note();
            (index, tried)
        });
        tries.collect()
    }
}

/// Groups the indices of policies that differ in the version only, in the order of the first of each group.
fn groups(policies: &[Policy]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known = std::collections::HashMap::new();
    for (index, policy) in policies.iter().enumerate() {
        let group = *known.entry(Policy { version: 0, ..*policy }).or_insert(groups.len());
        match groups.get_mut(group) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}
