//! The cost of each way to get an image, before any content is fetched.

use std::collections::HashSet;
use std::io;
use std::time::{Duration, Instant};

use libcomposefs_repo::{RefName, Repository};

use super::jobs::{FetchJob, jobs, metadata_job};
use super::select::{FrameSelection, Inventory, PullWay, select};
use crate::remote::Remote;
use crate::{DeliveryError, FileName, ImageIndex, RangeAnswer, RangeSink, RefDocument};

/// Size of the blocks of file systems, for the estimate of disk space.
const BLOCK: u64 = 4096;
/// Rate that is assumed before it is measured, in bytes for each second.
const RATE_ASSUMED: f64 = 12.5e6;
/// Smallest file from which a rate is measured, in bytes.
const RATE_FROM: u64 = 64 << 10;

/// The cost of one way.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct WayCost {
    /// The way.
    pub way: PullWay,
    /// Number of bytes that are received, those of documents included.
    pub bytes: u64,
    /// Number of requests.
    pub requests: u64,
    /// Number of bytes that are added to the disk.
    pub disk: u64,
    /// Number of objects that are stored.
    pub objects: u64,
    /// Estimated seconds of the transfer.
    pub seconds: f64,
}

/// The plan of a pull.
#[derive(Clone, Debug)]
pub struct DeliveryPlan {
    /// Document of the ref.
    pub document: RefDocument,
    /// The cost of each way, in the order of [`PullWay::ALL`].
    pub ways: Vec<WayCost>,
    /// The cheapest way.
    pub cheapest: PullWay,
    /// Time of one request, as measured.
    pub latency: Duration,
    /// Bytes for each second, if it could be measured.
    pub rate: Option<f64>,
    /// Number of requests of the plan itself.
    pub requests: u64,
    /// False if the server ignores ranges: whole packs are read.
    pub has_ranges: bool,
    pub(super) index: ImageIndex,
    pub(super) inventory: Inventory,
    /// True if the repository has the image, with all objects.
    pub is_here: bool,
}

/// Reads the documents of a ref, and computes the cost of each way.
///
/// # Errors
///
/// [`DeliveryError`]
pub fn plan(repository: &Repository, remote: &Remote<'_>, name: &RefName) -> Result<DeliveryPlan, DeliveryError> {
    let begun = Instant::now();
    let found = remote.read_ref(name)?;
    let latency = begun.elapsed();
    let no_ref = || DeliveryError::NoRef { location: remote.location(), name: name.clone() };
    plan_after(repository, remote, found.ok_or_else(no_ref)?.document, (latency, 1))
}

/// Computes the cost of each way for a document that was read before: that of a ref, which may lead to another image by
/// now.
///
/// # Errors
///
/// [`DeliveryError`]
pub fn plan_document(
    repository: &Repository,
    remote: &Remote<'_>,
    document: RefDocument,
) -> Result<DeliveryPlan, DeliveryError> {
    plan_after(repository, remote, document, (Duration::ZERO, 0))
}

/// Computes the plan, after a number of requests that had this latency.
fn plan_after(
    repository: &Repository,
    remote: &Remote<'_>,
    document: RefDocument,
    (latency, requests): (Duration, u64),
) -> Result<DeliveryPlan, DeliveryError> {
    if document.algorithm() != repository.algorithm() {
        let digest = Box::new(document.image.digest);
        return Err(DeliveryError::Algorithm { location: remote.location(), digest, expected: repository.algorithm() });
    }
    let begun = Instant::now();
    let index = remote.read_index_of(&document)?;
    let transfer = begun.elapsed().saturating_sub(latency).as_secs_f64();
    let rate = (document.index.size >= RATE_FROM && transfer > 0.0).then(|| document.index.size as f64 / transfer);
    let inventory = Inventory::of(repository, &index)?;
    let is_here = repository.has_image(&document.image.digest)? && inventory.missing().next().is_none();
    let mut plan = DeliveryPlan {
        document,
        ways: Vec::new(),
        cheapest: PullWay::Packs,
        latency,
        rate,
        requests: requests + 1,
        has_ranges: true,
        index,
        inventory,
        is_here,
    };
    plan.probe(remote)?;
    plan.ways = PullWay::ALL.into_iter().map(|way| plan.cost(remote, way)).collect::<Result<_, _>>()?;
    let here = plan.ways.iter().filter(|cost| cost.way != PullWay::Whole);
    // Of equal ones the first: packs need no base to be right.
    let cheapest = here.min_by(|a, b| a.seconds.total_cmp(&b.seconds));
    plan.cheapest = cheapest.map_or(PullWay::Packs, |cost| cost.way);
    Ok(plan)
}

impl DeliveryPlan {
    /// Returns the cost of the cheapest way.
    #[must_use]
    pub fn cost_of_cheapest(&self) -> Option<&WayCost> {
        self.ways.iter().find(|cost| cost.way == self.cheapest)
    }

    /// Returns the selection and the jobs of a way, that for the image included.
    pub(super) fn jobs(
        &self,
        remote: &Remote<'_>,
        way: PullWay,
    ) -> Result<(FrameSelection, Vec<FetchJob>), DeliveryError> {
        let selection = select(&self.index, &self.inventory, way, self.document.metadata.size);
        let selection = selection.map_err(|(digest, _)| {
            let file = FileName::Index(self.document.index.sha256);
            remote.damaged(&file, format!("no frame gives object {digest}, which the image needs"))
        })?;
        let mut jobs = jobs(&self.index, &selection);
        let needs_image = way == PullWay::Whole || !self.inventory.has(0);
        if needs_image && selection.image.is_none() {
            jobs.insert(0, metadata_job(&self.document));
        }
        Ok((selection, jobs))
    }

    fn cost(&self, remote: &Remote<'_>, way: PullWay) -> Result<WayCost, DeliveryError> {
        if self.is_here && way != PullWay::Whole {
            return Ok(WayCost { way, bytes: 0, requests: 0, disk: 0, objects: 0, seconds: 0.0 });
        }
        let (_, jobs) = self.jobs(remote, way)?;
        let text = self.document.to_text().map_or(0, |text| text.len() as u64);
        let (mut bytes, mut requests) = (text + self.document.index.size, self.requests);
        if self.has_ranges {
            bytes += jobs.iter().map(FetchJob::length).sum::<u64>();
            requests += jobs.iter().map(FetchJob::requests).sum::<u64>();
        } else {
            let files: HashSet<_> = jobs.iter().map(|job| (&job.file, job.size)).collect();
            bytes += files.iter().map(|(_, size)| size).sum::<u64>();
            requests += files.len() as u64;
        }
        let blocks = |size: u64| size.div_ceil(BLOCK).saturating_mul(BLOCK);
        let missing = || self.inventory.missing().filter_map(|number| self.index.entry(number));
        let image = if self.inventory.has(0) { 0 } else { blocks(self.document.image.size) };
        let disk = missing().map(|(_, size)| blocks(size)).fold(image, u64::saturating_add);
        let rate = self.rate.unwrap_or(RATE_ASSUMED);
        let seconds = bytes as f64 / rate + requests as f64 * self.latency.as_secs_f64();
        Ok(WayCost { way, bytes, requests, disk, objects: missing().count() as u64, seconds })
    }

    /// Asks for a part of a pack, to know whether the server has ranges.
    fn probe(&mut self, remote: &Remote<'_>) -> Result<(), DeliveryError> {
        if remote.store().abilities().is_near || self.is_here {
            return Ok(());
        }
        let (_, jobs) = self.jobs(remote, PullWay::Packs)?;
        // A whole file is the same with and without ranges.
        let Some(job) = jobs.iter().find(|job| job.length() < job.size) else { return Ok(()) };
        let mut sink = ProbeSink { answer: None, error: false };
        let range = job.start..job.end.min(job.start.saturating_add(1));
        let begun = Instant::now();
        let result = remote.patience().access(|| {
            let result = remote.store().read_range(&job.file, range.clone(), &mut sink);
            // The body of a whole file is not wanted.
            if sink.error { Ok(Some(RangeAnswer::Whole(job.size))) } else { result }
        });
        self.requests += 1;
        self.latency = self.latency.min(begun.elapsed());
        self.has_ranges = match result? {
            Some(answer) => answer == RangeAnswer::Part,
            None => return Err(remote.damaged(&job.file, "it is missing")),
        };
        Ok(())
    }
}

/// Takes the answer and a byte.
struct ProbeSink {
    answer: Option<RangeAnswer>,
    /// True if the body was refused.
    error: bool,
}

impl RangeSink for ProbeSink {
    fn begin(&mut self, answer: RangeAnswer) -> io::Result<()> {
        self.answer = Some(answer);
        if answer == RangeAnswer::Part {
            return Ok(());
        }
        self.error = true;
        Err(io::Error::other("the whole file is not wanted"))
    }

    fn bytes(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}
