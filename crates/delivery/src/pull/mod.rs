//! An image is pulled: missing objects by ranges of packs, each verified before it has a name; the image last.

mod bare;
mod fetch;
mod frames;
mod jobs;
mod limiter;
mod plan;
mod range_reader;
mod select;
mod storing;

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::Path;

use libcomposefs_content::{Progress, thread_count};
use libcomposefs_image::{Digest, verity};
use libcomposefs_repo::{
    ImageName, ImportOptions, Incoming, ObjectSource, PublishedImage, RefName, Repository, RepositoryError,
};

use crate::pack_writer::MakeFile;
use crate::remote::Remote;
use crate::{DeliveryError, FileName, RefDocument};
pub use bare::pull_digest;
pub(crate) use fetch::FetchShared;
use fetch::{FetchedJobs, Fetcher};
pub(crate) use frames::{FetchContext, fetch_frames};
use jobs::{FetchJob, metadata_job};
use limiter::RateLimiter;
pub use plan::{DeliveryPlan, WayCost, plan, plan_document};
use range_reader::RangeAccess;
pub use select::PullWay;
use storing::ArrivingObjects;
pub(crate) use storing::KeepingGuard;

/// Options of a pull.
#[derive(Clone, Copy)]
pub struct DeliveryPullOptions<'a> {
    /// Number of requests at once.
    pub connections: NonZeroUsize,
    /// Most bytes for each second.
    pub rate_limit: Option<u64>,
    /// Makes temporary files, for packs of servers that ignore ranges.
    pub make_file: MakeFile<'a>,
    /// Receives the number of bytes that will arrive, and those that arrive.
    pub progress: &'a (dyn Progress + Sync),
}

/// The result of a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pulled {
    /// Digest of the image.
    pub digest: Digest,
    /// True if the repository did not have the image before.
    pub is_new: bool,
    /// Images that had the names of this one before.
    pub replaced: Vec<Digest>,
    /// Number of objects that were added, without the image.
    pub new_objects: u64,
    /// Number of bytes that arrived, without the documents that the plan has read.
    pub received: u64,
}

/// Pulls the image of a plan, and gives it these names.
///
/// # Errors
///
/// [`DeliveryError`]. Objects that have arrived stay until the next gc, and are not fetched again by the next pull.
pub fn pull(
    repository: &Repository,
    remote: &Remote<'_>,
    plan: &DeliveryPlan,
    names: Vec<RefName>,
    options: &DeliveryPullOptions<'_>,
) -> Result<Pulled, DeliveryError> {
    let digest = plan.document.image.digest;
    if plan.is_here {
        return name_image(repository, digest, &names);
    }
    let (_, jobs) = plan.jobs(remote, plan.cheapest)?;
    let wanted = plan.inventory.missing().filter_map(|number| plan.index.entry(number)).map(|entry| entry.0).collect();
    let fallback = |digests: &[Digest]| {
        let mut whole = plan.clone();
        whole.inventory.forget(&whole.index, digests);
        whole.jobs(remote, PullWay::Packs).map(|(_, jobs)| jobs)
    };
    let fetch = PulledFetch { repository, remote, options, digest, wanted, fallback: &fallback };
    fetch.run(jobs, names)
}

/// Fetches only the image of a ref, and returns its bytes, which have the digest of the document.
///
/// # Errors
///
/// [`DeliveryError`]
pub fn pull_metadata(
    remote: &Remote<'_>,
    name: &RefName,
    progress: &(dyn Progress + Sync),
) -> Result<(RefDocument, Vec<u8>), DeliveryError> {
    let no_ref = || DeliveryError::NoRef { location: remote.location(), name: name.clone() };
    let document = remote.read_ref(name)?.ok_or_else(no_ref)?.document;
    let job = metadata_job(&document);
    progress.begin(1, job.size);
    let compressed = remote.read_file(&job.file, job.size)?;
    progress.bytes(job.size);
    let mut bytes = Vec::new();
    let decoded = job.frames.iter().try_for_each(|(_, info)| {
        libcomposefs_delta::decode(
            info,
            &compressed[..],
            &mut |_| Err(std::io::ErrorKind::NotFound.into()),
            &mut |_, piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            },
        )
    });
    decoded.map_err(|error| remote.damaged(&job.file, error.to_string()))?;
    read_image(remote, &job.file, &bytes, document.image.digest)?;
    Ok((document, bytes))
}

/// Compares an image with its digest, and reads it.
fn read_image(remote: &Remote<'_>, file: &FileName, bytes: &[u8], digest: Digest) -> Result<Incoming, DeliveryError> {
    let found = verity::digest(digest.algorithm(), bytes);
    if found != digest {
        return Err(remote.damaged(file, format!("it gives the image {found} instead of {digest}")));
    }
    let wrong = |source| RepositoryError::Image { digest: Box::new(digest), source };
    Ok(Incoming::read(bytes, digest).map_err(wrong)?)
}

/// Gives names to an image that the repository has.
fn name_image(repository: &Repository, digest: Digest, names: &[RefName]) -> Result<Pulled, DeliveryError> {
    let mut replaced = Vec::new();
    for name in names {
        let before = repository.tag(&ImageName::Digest(digest), name)?;
        replaced.extend(before.1.filter(|before| *before != digest));
    }
    Ok(Pulled { digest, is_new: false, replaced, new_objects: 0, received: 0 })
}

/// Returns jobs for objects that must come without bases.
type Fallback<'a> = &'a (dyn Fn(&[Digest]) -> Result<Vec<FetchJob>, DeliveryError> + 'a);

/// A fetch of objects and of the image, and its publication.
struct PulledFetch<'a> {
    repository: &'a Repository,
    remote: &'a Remote<'a>,
    options: &'a DeliveryPullOptions<'a>,
    digest: Digest,
    wanted: HashSet<Digest>,
    fallback: Fallback<'a>,
}

impl PulledFetch<'_> {
    fn run(&self, jobs: Vec<FetchJob>, names: Vec<RefName>) -> Result<Pulled, DeliveryError> {
        let received = std::sync::atomic::AtomicU64::new(0);
        let progress = self.options.progress;
        progress.begin(jobs.len() as u64, jobs.iter().map(FetchJob::length).sum());
        let arrived = |bytes| {
            received.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            progress.bytes(bytes);
        };
        let limiter = RateLimiter::new(self.options.rate_limit);
        let access = RangeAccess { remote: self.remote, limiter: &limiter, arrived: &arrived };
        // Until the image is published, its lease keeps all that arrives.
        let storing = ArrivingObjects::begin(self.repository)?;
        let mut fetched = self.fetch(access, &storing, &jobs)?;
        if !fetched.without_base.is_empty() {
            let again = self.fetch(access, &storing, &(self.fallback)(&fetched.without_base)?)?;
            fetched.image = fetched.image.or(again.image);
        }
        let published = self.publish(fetched.image, &storing, names)?;
        let new_objects = storing.new.load(std::sync::atomic::Ordering::Relaxed);
        let PublishedImage { digest, is_new, replaced, .. } = published;
        Ok(Pulled { digest, is_new, replaced, new_objects, received: received.into_inner() })
    }

    fn fetch(
        &self,
        access: RangeAccess<'_>,
        storing: &ArrivingObjects<'_>,
        jobs: &[FetchJob],
    ) -> Result<FetchedJobs, DeliveryError> {
        let DeliveryPullOptions { make_file, connections, .. } = *self.options;
        Fetcher::new(self.repository, access, (make_file, connections), storing, &self.wanted, self.digest).run(jobs)
    }

    /// Writes the image again, compares it, verifies all objects that did not just arrive, and publishes it.
    fn publish<'r>(
        &'r self,
        image: Option<Vec<u8>>,
        storing: &ArrivingObjects<'r>,
        names: Vec<RefName>,
    ) -> Result<PublishedImage, DeliveryError> {
        let bytes = match image {
            Some(bytes) => bytes,
            None => self.repository.read_image(&self.digest)?.bytes,
        };
        let incoming = read_image(self.remote, &FileName::ImageByDigest(self.digest), &bytes, self.digest)?;
        drop(bytes);
        let mut transaction = self.repository.transaction()?;
        storing.vouch(transaction.batch());
        let options = ImportOptions {
            objects: ObjectSource::None,
            rewrite: false,
            threads: thread_count(None),
            progress: &libcomposefs_content::NoProgress,
        };
        let source = self.remote.location();
        transaction.import_image(&incoming, Path::new(&source), names, &options)?;
        let mut committed = transaction.commit()?;
        let published = committed.images.pop();
        published.ok_or_else(|| self.remote.damaged(&FileName::ImageByDigest(self.digest), "it was not published"))
    }
}
