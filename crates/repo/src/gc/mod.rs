//! Garbage collection (`docs/format/repository.md`, section 5).
//!
//! Everything that is needed is marked first (`mark`). The rest is removed in small steps (`sweep`), each under the
//! lock of the repository and after names and leases were read again: other programs hold the lock as long as they run,
//! and may have published while gc waited for it.

mod mark;
mod sweep;
mod sweep_streams;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use libcomposefs_image::Digest;

use super::digest_set::DigestSet;
use super::marks::MarkSet;
use super::{RefName, Repository, RepositoryError};
use crate::broken_ref::BrokenRef;
use crate::lease::reader::LeaseReader;
use crate::streams::StreamLink;

/// Options of a gc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcOptions {
    /// Remove nothing, and report what would be removed.
    pub dry_run: bool,
    /// Keep what is younger: other programs have no leases.
    pub grace: Duration,
}

/// Counts of what gc removed and kept, or with `dry_run` would remove and keep.
#[derive(Debug, Default)]
pub struct GcReport {
    /// Number of images that are needed.
    pub images_kept: u64,
    /// Number of objects that are needed.
    pub objects_kept: u64,
    /// Images without a name that were kept because a mount or a program has them open.
    pub in_use: Vec<Digest>,
    /// Images without a name that were kept because they, or a stream that needs them, are young. A grace of zero
    /// removes them.
    pub young_images: Vec<Digest>,
    /// Images that were removed.
    pub removed_images: Vec<Digest>,
    /// Number of streams that are needed.
    pub streams_kept: u64,
    /// Names of the streams of untagged OCI images that were kept because a program has them open.
    pub streams_in_use: Vec<String>,
    /// Names of the streams of untagged OCI images that were kept because they, or a stream that needs them, are young.
    /// A grace of zero removes them.
    pub young_streams: Vec<String>,
    /// Names of the streams of untagged OCI images that were removed.
    pub removed_streams: Vec<String>,
    /// Number of objects that were removed.
    pub removed_objects: u64,
    /// Size of the removed objects on disk, in bytes. Objects that share extents with other files free less.
    pub removed_bytes: u64,
    /// Number of objects that were kept only because they, or an image or stream that needs them, are young. A grace of
    /// zero removes them.
    pub young_objects: u64,
    /// Size of those young objects on disk, in bytes.
    pub young_bytes: u64,
    /// Number of objects that only leases protect.
    pub claimed_objects: u64,
    /// Refs whose image is missing.
    pub dangling: Vec<(RefName, Digest)>,
    /// Refs and links in the form of other programs. Their targets are kept.
    pub others: Vec<BrokenRef>,
    /// Entries that cannot be interpreted, so that their target is unknown. Nothing was removed after the first was
    /// found.
    pub unclear: Vec<BrokenRef>,
    /// Images that cannot be read. No object was removed, because the objects that those images need are unknown.
    pub unreadable: Vec<(Digest, RepositoryError)>,
    /// Number of leases that were deleted because their process has ended.
    pub cleared_leases: u64,
}

/// The role that removes what is not needed. It holds `gc.lock`, except in a dry run, so that no other gc runs
/// meanwhile.
///
/// [`mark`](Self::mark) finds what is needed. Only the [`MarkedRepository`] that it returns can remove anything.
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
    marks: MarkSet,
    leases: Option<LeaseReader>,
    /// Images that were listed at the start and are not decided on yet. Every other link is new, and is kept.
    candidates: BTreeSet<Digest>,
    /// Images that are kept because they are young, and the objects that they need.
    young_images: BTreeSet<Digest>,
    young_objects: DigestSet,
    /// Images whose links a dry run leaves in place.
    spared: BTreeSet<Digest>,
    /// Streams of OCI images that were listed at the start and are not decided on yet. Every other link is new, and is
    /// kept.
    stream_candidates: BTreeSet<StreamLink>,
    /// Streams of untagged OCI images that are kept because they are young.
    young_streams: BTreeSet<StreamLink>,
    /// All that the young streams need.
    young_marks: MarkSet,
    /// Streams whose links a dry run leaves in place.
    spared_streams: BTreeSet<StreamLink>,
    report: GcReport,
}

/// A repository in which everything that is needed is marked. The only way to remove anything.
#[derive(Debug)]
#[must_use = "nothing is removed before a sweep"]
pub struct MarkedRepository<'r>(Collector<'r>);

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
            marks: MarkSet::new(self),
            leases,
            candidates: BTreeSet::new(),
            young_images: BTreeSet::new(),
            young_objects: DigestSet::new(self.algorithm()),
            spared: BTreeSet::new(),
            stream_candidates: BTreeSet::new(),
            young_streams: BTreeSet::new(),
            young_marks: MarkSet::new(self),
            spared_streams: BTreeSet::new(),
            report: GcReport::default(),
        })
    }

    /// Removes untagged OCI images, images without a name, and objects that nothing needs. A [`Collector`] does the
    /// same step by step.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read or written. What is wrong with single refs and images is in the report.
    pub fn gc(&self, options: GcOptions) -> Result<GcReport, RepositoryError> {
        self.collector(options)?.mark()?.sweep()
    }
}

impl<'r> Collector<'r> {
    /// Marks everything that is needed, and notes the images and streams that nothing names.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read.
    pub fn mark(mut self) -> Result<MarkedRepository<'r>, RepositoryError> {
        self.mark_all()?;
        Ok(MarkedRepository(self))
    }

    /// Returns the number of partial images that are marked, and of their objects that are not here.
    fn partial(&self) -> Result<(u64, u64), RepositoryError> {
        let mut absent = DigestSet::new(self.repository.algorithm());
        let marked = self.repository.partial_entries()?.into_iter().filter(|image| self.marks.images.contains(image));
        let mut count = 0;
        for image in marked.filter(|image| !self.repository.has_image(image).unwrap_or(true)) {
            count += 1;
            // An image that cannot be read is in the report already.
            let _ = self.repository.objects_of_image(&image, |object| {
                if self.repository.objects.try_stat(object).is_err() {
                    absent.insert(object);
                }
            });
        }
        Ok((count, absent.count() as u64))
    }

    fn finish(mut self) -> Result<GcReport, RepositoryError> {
        if let Some(leases) = &mut self.leases {
            if !self.options.dry_run {
                leases.clear()?;
            }
            self.report.cleared_leases = leases.cleared;
        }
        let (partial, absent) = self.partial()?;
        self.report.images_kept = self.marks.images.len() as u64 - partial;
        self.report.streams_kept = self.marks.streams.len() as u64;
        self.report.objects_kept = (self.marks.objects.count() as u64).saturating_sub(absent);
        self.report.unreadable = self.marks.unreadable;
        self.report.unclear = self.marks.unclear.into_iter().collect();
        Ok(self.report)
    }
}

impl MarkedRepository<'_> {
    /// Removes the streams, images and objects that are not marked, in small steps.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read or written.
    pub fn sweep(self) -> Result<GcReport, RepositoryError> {
        let Self(mut collector) = self;
        if collector.may_go_on() {
            collector.sweep_streams()?;
            collector.sweep_images()?;
            collector.sweep_objects()?;
        }
        collector.finish()
    }
}
