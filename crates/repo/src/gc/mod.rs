//! Removing what is not needed (`docs/format/repository.md`, section 5).
//!
//! Everything that is needed is marked first (`mark`). What is removed then goes in small steps (`sweep`), each with the
//! repository locked and after another look at all that names or claims something: other programs hold the lock as long as
//! they run, and may have published while gc waited for it.

mod mark;
mod sweep;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use libcomposefs_image::Digest;

use super::digest_set::DigestSet;
use super::marks::Marks;
use super::{RefName, Repository, RepositoryError};
use crate::broken_ref::BrokenRef;
use crate::lease::reader::LeaseReader;

/// How gc goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcOptions {
    /// Only look, and remove nothing.
    pub dry_run: bool,
    /// What is younger stays: other programs have no leases.
    pub grace: Duration,
}

/// What gc did, or with `dry_run` would do.
#[derive(Debug, Default)]
pub struct GcReport {
    /// How many images are needed.
    pub images_kept: u64,
    /// How many objects are needed.
    pub objects_kept: u64,
    /// Images without a name that stay as they are open, by a mount or a program.
    pub in_use: Vec<Digest>,
    /// Images without a name that stay as they are young. A grace of zero removes them.
    pub young_images: Vec<Digest>,
    /// Images that were removed.
    pub removed_images: Vec<Digest>,
    /// Objects that were removed.
    pub removed_objects: u64,
    /// What they took on the disk. What shares extents with files elsewhere frees less.
    pub removed_bytes: u64,
    /// Objects that stay only as they are young, or as a young image needs them. A grace of zero removes them.
    pub young_objects: u64,
    /// What those take on the disk.
    pub young_bytes: u64,
    /// Objects that only commands at work need.
    pub claimed_objects: u64,
    /// Names whose image is not there.
    pub dangling: Vec<(RefName, Digest)>,
    /// Names and links in the form of other programs. What they lead to is kept.
    pub others: Vec<BrokenRef>,
    /// Entries that are not understood, so that what they keep is not known: nothing at all was removed after the first was found.
    pub unclear: Vec<BrokenRef>,
    /// Images that cannot be read, so that no object was removed: what they need is not known.
    pub unreadable: Vec<(Digest, RepositoryError)>,
    /// Leases of processes that are gone.
    pub cleared_leases: u64,
}

/// The role that removes what is not needed. No other gc runs as long as it lives: it holds `gc.lock`, unless it only looks.
///
/// What is needed is marked first; only what that returns can remove anything.
///
/// ```
/// # use libcomposefs_image::Algorithm;
/// # use libcomposefs_repo::{Format, GcOptions, Repository, Settings};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::default() };
/// # let (repository, _) = Repository::init(dir.path(), settings)?;
/// let options = GcOptions { dry_run: false, grace: std::time::Duration::ZERO };
/// let report = repository.collector(options)?.mark()?.sweep()?;
/// assert!(report.removed_images.is_empty());
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0599
/// # fn f(collector: libcomposefs_repo::Collector<'_>) -> Result<(), libcomposefs_repo::RepositoryError> {
/// collector.sweep()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is removed before a sweep"]
pub struct Collector<'r> {
    repository: &'r Repository,
    options: GcOptions,
    now: SystemTime,
    marks: Marks,
    leases: Option<LeaseReader>,
    /// Images that were listed at the beginning and are not decided on. Every other link is new, and is kept.
    candidates: BTreeSet<Digest>,
    /// Images that stay as they are young, and what they need.
    young_images: BTreeSet<Digest>,
    young_objects: DigestSet,
    /// Images whose links a dry run leaves in place.
    spared: BTreeSet<Digest>,
    report: GcReport,
}

/// A repository in which everything that is needed is marked. The only way to remove anything.
#[derive(Debug)]
#[must_use = "nothing is removed before a sweep"]
pub struct Marked<'r>(Collector<'r>);

impl Repository {
    /// Starts a gc: waits until no other gc runs, and deletes the leases of processes that have ended. With
    /// [`dry_run`](GcOptions::dry_run) it does neither.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read or written.
    pub fn collector(&self, options: GcOptions) -> Result<Collector<'_>, RepositoryError> {
        let leases = if options.dry_run {
            LeaseReader::look(&self.dir)?
        } else {
            self.expect_writable()?;
            Some(LeaseReader::begin_gc(&self.dir, &self.objects)?)
        };
        Ok(Collector {
            repository: self,
            options,
            now: SystemTime::now(),
            marks: Marks::new(self),
            leases,
            candidates: BTreeSet::new(),
            young_images: BTreeSet::new(),
            young_objects: DigestSet::new(self.algorithm()),
            spared: BTreeSet::new(),
            report: GcReport::default(),
        })
    }

    /// Removes what is not needed: images without a name, and objects of no image. A [`Collector`] does it in its steps.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read or written. What is wrong with single refs and images is in the report.
    pub fn gc(&self, options: GcOptions) -> Result<GcReport, RepositoryError> {
        self.collector(options)?.mark()?.sweep()
    }
}

impl<'r> Collector<'r> {
    /// Marks everything that is needed, and notes the images that nothing names.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read.
    pub fn mark(mut self) -> Result<Marked<'r>, RepositoryError> {
        self.mark_all()?;
        Ok(Marked(self))
    }

    fn finish(mut self) -> Result<GcReport, RepositoryError> {
        if let Some(leases) = &mut self.leases {
            if !self.options.dry_run {
                leases.clear()?;
            }
            self.report.cleared_leases = leases.cleared;
        }
        self.report.images_kept = self.marks.images.len() as u64;
        self.report.objects_kept = self.marks.objects.count() as u64;
        self.report.unreadable = self.marks.unreadable;
        self.report.unclear = self.marks.unclear.into_iter().collect();
        Ok(self.report)
    }
}

impl Marked<'_> {
    /// Removes the images and objects that are not marked, in small steps.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read or written.
    pub fn sweep(self) -> Result<GcReport, RepositoryError> {
        let Self(mut collector) = self;
        if collector.may_go_on() {
            collector.sweep_images()?;
            collector.sweep_objects()?;
        }
        collector.finish()
    }
}
