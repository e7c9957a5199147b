//! Checks a repository and repairs it (`docs/fsck.md`).
//!
//! Names, links, images and streams say what must exist (`expected`, `streams`); then every object is read (`objects`).
//! Each damage is plain data (`damage`). `repair` restores objects from `sources`, and moves what it replaces to the
//! `quarantine`.

mod damage;
mod expected;
mod meta;
mod objects;
mod quarantine;
mod repair;
mod seen;
mod sources;
mod streams;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

pub use damage::{Damage, DamageKind, NeededBy, Remedy};
pub use sources::RepairSource;

use libcomposefs_content::Progress;

use super::stream_graph::StreamGraph;
use super::{Repository, RepositoryError};
use expected::Needs;
use objects::ObjectChecks;
use repair::Repair;

/// Options of a check.
#[derive(Debug)]
pub struct FsckOptions {
    /// Repair what can be repaired.
    pub repair: bool,
    /// Places to look for the right contents.
    pub sources: Vec<RepairSource>,
    /// Number of threads that read objects.
    pub threads: NonZeroUsize,
}

/// Result of a check.
#[derive(Debug, Default)]
pub struct FsckReport {
    /// All damages, repaired ones included.
    pub damages: Vec<Damage>,
    /// Number of objects.
    pub objects: u64,
    /// Total size of all objects, in bytes.
    pub bytes: u64,
    /// Number of images that can be read.
    pub images: u64,
    /// Number of refs.
    pub refs: u64,
    /// Number of streams.
    pub streams: u64,
}

impl FsckReport {
    /// Returns whether the repository has no damage, or none any more.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages.iter().all(|damage| damage.remedy.is_mended())
    }
}

/// Opens a repository to be checked, even if its settings are damaged. Returns that damage as well.
///
/// # Errors
///
/// If the directory is no repository, or cannot be opened.
pub fn open_anyway(path: &Path) -> Result<(Repository, Option<Damage>), RepositoryError> {
    meta::open_anyway(path)
}

impl Repository {
    /// Checks everything, and repairs what can be repaired if the options say so. `meta` is the damage that
    /// [`open_anyway`] returned.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read, or cannot be written for a repair. Damages are no errors.
    pub fn fsck(
        &self,
        meta: Option<Damage>,
        options: &FsckOptions,
        progress: &dyn Progress,
    ) -> Result<FsckReport, RepositoryError> {
        // Held to the end, so that nothing is removed before it was read. A check without repair continues without
        // a lease if it cannot make one: if an image is removed meanwhile, its link is looked up again before its
        // objects are reported as missing.
        let lease = if options.repair { Some(Arc::new(self.lease()?)) } else { None };
        let reader = if options.repair { None } else { Some(self.reader()?) };
        let mut needs = Needs::find(self, |images| match (&lease, &reader) {
            (Some(lease), _) => Ok(lease.protect(images).map(|()| true)?),
            (None, Some(reader)) => reader.protect(images),
            (None, None) => Ok(false),
        })?;
        let ObjectChecks { count, bytes, damages, misnamed } =
            ObjectChecks::look(self, &needs, options.threads, progress)?;
        let mut all: Vec<Damage> = meta.into_iter().chain(std::mem::take(&mut needs.damages)).chain(damages).collect();
        if let Some(lease) = lease.as_ref().filter(|_| options.repair && !all.is_empty()) {
            if let Some(damage) = all.iter_mut().find(|damage| damage.kind == DamageKind::Meta) {
                damage.remedy = meta::repair(self, &options.sources);
            }
            Repair::new(self, lease, &needs, options, misnamed).run(&mut all)?;
        }
        self.find_tags(&mut all)?;
        all.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
        let (images, refs, streams) = (needs.images.len() as u64, needs.refs, needs.streams);
        Ok(FsckReport { damages: all, objects: count, bytes, images, refs, streams })
    }

    /// Finds the names that keep the damaged streams.
    fn find_tags(&self, damages: &mut [Damage]) -> Result<(), RepositoryError> {
        let mut of_streams: Vec<_> = damages.iter_mut().filter_map(|damage| damage.stream.as_mut()).collect();
        if of_streams.is_empty() {
            return Ok(());
        }
        let graph = StreamGraph::read(self, &[])?;
        for keeper in &mut of_streams {
            if let Some(found) = graph.keeper_of(&keeper.name) {
                **keeper = found;
            }
        }
        Ok(())
    }
}
