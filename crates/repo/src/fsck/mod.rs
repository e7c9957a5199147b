//! Whether all is as it should be, and making it so (`docs/fsck.md`).
//!
//! What names, links and images say must be there is gathered first (`expected`), then every object is read (`objects`). Each
//! damage is plain data (`damage`); `repair` mends what it can from `sources`, and puts what it takes away into the
//! `quarantine`.

mod damage;
mod expected;
mod meta;
mod objects;
mod quarantine;
mod repair;
mod seen;
mod sources;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

pub use damage::{Damage, Kind, NeededBy, Remedy};
pub use sources::Source;

use libcomposefs_content::Progress;

use super::{Repository, RepositoryError};
use expected::Needs;
use objects::Objects;
use repair::Repair;

/// How a repository is checked.
#[derive(Debug)]
pub struct FsckOptions {
    /// Mend what can be.
    pub repair: bool,
    /// Where right contents may be had.
    pub sources: Vec<Source>,
    /// So many read.
    pub threads: NonZeroUsize,
}

/// What came of a check.
#[derive(Debug, Default)]
pub struct FsckReport {
    /// All that is wrong, or was.
    pub damages: Vec<Damage>,
    /// How many objects there are.
    pub objects: u64,
    /// Their length together.
    pub bytes: u64,
    /// How many images there are that can be read.
    pub images: u64,
    /// How many names.
    pub refs: u64,
}

impl FsckReport {
    /// Whether nothing is wrong now.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages.iter().all(|damage| damage.remedy.is_mended())
    }
}

/// Opens a repository to be checked, were its settings damaged; that is the second value then.
///
/// # Errors
///
/// If it is none, or cannot be opened.
pub fn open_anyway(path: &Path) -> Result<(Repository, Option<Damage>), RepositoryError> {
    meta::open_anyway(path)
}

impl Repository {
    /// Checks everything, and mends what can be. `meta` is what [`open_anyway`] found.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read, or written to be mended. What is wrong in it is no error.
    pub fn fsck(
        &self,
        meta: Option<Damage>,
        options: &FsckOptions,
        progress: &dyn Progress,
    ) -> Result<FsckReport, RepositoryError> {
        // Held to the end, so that nothing is removed before it was looked at. A check that only reads does without a lease
        // where none can be had: an image that is removed meanwhile is looked for again before its objects are called missing.
        let lease = if options.repair { Some(Arc::new(self.lease()?)) } else { None };
        let reader = if options.repair { None } else { Some(self.reader()?) };
        let mut needs = Needs::find(self, |images| match (&lease, &reader) {
            (Some(lease), _) => Ok(lease.protect(images).map(|()| true)?),
            (None, Some(reader)) => reader.protect(images),
            (None, None) => Ok(false),
        })?;
        let Objects { count, bytes, damages, misnamed } = Objects::look(self, &needs, options.threads, progress)?;
        let mut all: Vec<Damage> = meta.into_iter().chain(std::mem::take(&mut needs.damages)).chain(damages).collect();
        if let Some(lease) = lease.as_ref().filter(|_| options.repair && !all.is_empty()) {
            if let Some(damage) = all.iter_mut().find(|damage| damage.kind == Kind::Meta) {
                damage.remedy = meta::repair(self, &options.sources);
            }
            Repair::new(self, lease, &needs, options, misnamed).run(&mut all)?;
        }
        all.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
        let (images, refs) = (needs.images.len() as u64, needs.refs);
        Ok(FsckReport { damages: all, objects: count, bytes, images, refs })
    }
}
