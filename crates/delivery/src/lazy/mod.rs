//! Objects of an image are fetched one by one, when they are needed: for mounts whose contents arrive while they are
//! used.
//!
//! A fetch takes a frame of a pack, in a thread of its own, and the next frames too if files are read in their order. A
//! caller that needs an object of these frames meanwhile waits for the same fetch. Each object is compared with its
//! digest before it has a name in the repository.

mod ahead;
mod choose;
mod fetches;
mod prefetch;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use libcomposefs_content::mutex::lock;
use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;

use self::ahead::FrameReadAhead;
use self::choose::FrameTable;
use self::fetches::{FetchOutcome, RunningFetches};
use crate::pull::{FetchContext, FetchShared, KeepingGuard, fetch_frames};
use crate::remote::Remote;
use crate::retry::Patience;
use crate::{DeliveryError, ImageIndex, RefDocument, RemoteStore};

/// Bytes for each second at which an object arrives at least, or the fetch ends.
const RATE_MIN: u64 = 100_000;

/// Options of [`LazyObjects`].
#[derive(Clone, Copy, Debug)]
pub struct LazyOptions {
    /// Longest time until an object is here, apart from the time that its bytes need at 100 kB/s.
    pub timeout: Duration,
    /// Longest time until an object is here, whatever its size.
    pub longest: Duration,
    /// Largest number of fetches at once.
    pub fetches: usize,
    /// Makes temporary files, for packs of servers that ignore ranges.
    pub make_file: fn() -> std::io::Result<std::fs::File>,
}

/// Reason why an object is not here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LazyError {
    /// The object is not one of the image.
    #[error("the index of the remote has no such object")]
    Unknown,
    /// No frame that this program understands gives the object.
    #[error("no frame of the remote gives it")]
    NoFrame,
    /// The time is over.
    #[error("the remote {location} did not answer within {} seconds", after.as_secs_f32())]
    Timeout {
        /// Location of the remote.
        location: String,
        /// The time that was waited for.
        after: Duration,
    },
    /// The fetch failed.
    #[error("{0}")]
    Failed(String),
    /// The mount ends.
    #[error("the mount ends")]
    Ended,
}

/// What is known about the fetches of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LazyStatus {
    /// Number of calls that wait for an object.
    pub waiting: u64,
    /// Number of fetches that run.
    pub running: u64,
    /// The last failure, and its time.
    pub last_error: Option<(SystemTime, String)>,
}

/// The objects of an image that come from a remote when they are needed.
#[derive(Clone)]
pub struct LazyObjects(Arc<LazyShared>);

struct LazyShared {
    repository: Repository,
    store: Arc<dyn RemoteStore>,
    index: ImageIndex,
    frames: FrameTable,
    guard: Arc<KeepingGuard>,
    fetch: FetchShared,
    options: LazyOptions,
    running: RunningFetches,
    ahead: Mutex<FrameReadAhead>,
    last_error: Mutex<Option<(SystemTime, String)>>,
}

impl LazyOptions {
    /// Returns the longest time until this number of bytes is here.
    fn longest_of(&self, bytes: u64) -> Duration {
        (self.timeout + Duration::from_millis(bytes.saturating_mul(1000) / RATE_MIN)).min(self.longest)
    }
}

impl LazyObjects {
    /// Reads the index of an image, which [`open`](Self::open) needs.
    ///
    /// # Errors
    ///
    /// [`DeliveryError`] if the index cannot be read or used.
    pub fn read_index(store: &dyn RemoteStore, document: &RefDocument) -> Result<ImageIndex, DeliveryError> {
        Remote::new(store, Patience::default()).read_index_of(document)
    }

    /// Prepares the fetches of the image with this index, and with objects of these sizes. The remote is not asked. A
    /// lease protects the image, and all that arrives, as long as the result lives.
    ///
    /// # Errors
    ///
    /// [`DeliveryError`] if no lease can be made.
    pub fn open(
        repository: Repository,
        store: Arc<dyn RemoteStore>,
        index: ImageIndex,
        sizes: &HashMap<Digest, u64>,
        options: LazyOptions,
    ) -> Result<Self, DeliveryError> {
        let lease = repository.lease()?;
        lease.protect(&[index.image.digest]).map_err(libcomposefs_repo::RepositoryError::from)?;
        let (guard, frames) = (Arc::new(KeepingGuard(lease)), FrameTable::of(&index, sizes));
        let (fetch, running) = (FetchShared::default(), RunningFetches::new(options.fetches));
        let (ahead, last_error) = (Mutex::new(FrameReadAhead::new()), Mutex::new(None));
        let fetches =
            LazyShared { repository, store, index, frames, guard, fetch, options, running, ahead, last_error };
        Ok(Self(Arc::new(fetches)))
    }

    /// Returns when the object is in the repository.
    ///
    /// # Errors
    ///
    /// [`LazyError`]
    pub fn fetch(&self, digest: &Digest, size: u64) -> Result<(), LazyError> {
        let after = self.0.options.longest_of(size);
        let result = self.fetch_until(digest, size, Instant::now() + after, after);
        if let Err(error) = &result
            && *error != LazyError::Ended
        {
            self.note(format!("object {digest}: {error}"));
        }
        result
    }

    /// Makes a failure the last one of the [`status`](Self::status).
    pub fn note(&self, failure: String) {
        *lock(&self.0.last_error) = Some((SystemTime::now(), failure));
    }

    /// Has all waiting calls of [`fetch`](Self::fetch) fail, and all later ones.
    pub fn end(&self) {
        self.0.running.end();
    }

    /// Returns what is known about the fetches.
    #[must_use]
    pub fn status(&self) -> LazyStatus {
        let (waiting, running) = self.0.running.counts();
        LazyStatus { waiting, running, last_error: lock(&self.0.last_error).clone() }
    }

    fn fetch_until(&self, digest: &Digest, size: u64, end: Instant, after: Duration) -> Result<(), LazyError> {
        let shared = &self.0;
        let is_here = || shared.repository.has_object(digest, size).map_err(failed);
        let number = shared.frames.number(digest).ok_or(LazyError::Unknown)?;
        // Nothing longer than the file is read for it.
        if let Some((_, announced)) = shared.index.entry(number).filter(|(_, announced)| *announced != size) {
            let reason = format!("the index of the remote says {announced} bytes, and the image {size}");
            return Err(LazyError::Failed(reason));
        }
        let mut is_alone = false;
        loop {
            // Another mount or a pull may have stored it meanwhile.
            if is_here()? {
                return Ok(());
            }
            let frame = shared.frames.choose(&shared.index, &shared.repository, number).ok_or(LazyError::NoFrame)?;
            let lazy = self.clone();
            let work = move |frames: &[usize], interrupt: Arc<AtomicBool>| lazy.fetch_group(frames, interrupt);
            let group = || if is_alone { vec![frame] } else { self.group(frame) };
            match shared.running.join_or_start(frame, end, group, work) {
                FetchOutcome::Done if is_here()? => return Ok(()),
                FetchOutcome::Failed(_) if is_here()? => return Ok(()),
                // The frames before it in the group may be at fault.
                FetchOutcome::Done | FetchOutcome::GroupFailed if !is_alone => is_alone = true,
                FetchOutcome::Done | FetchOutcome::GroupFailed => {
                    return Err(LazyError::Failed("the frame gives another object".into()));
                }
                FetchOutcome::Failed(reason) => return Err(LazyError::Failed(reason)),
                FetchOutcome::Timeout => {
                    return Err(LazyError::Timeout { location: shared.store.location().to_owned(), after });
                }
                FetchOutcome::Ended => return Err(LazyError::Ended),
            }
        }
    }

    /// Returns the frames that are fetched with a frame: those after it in the same pack that give what is not here.
    fn group(&self, first: usize) -> Vec<usize> {
        let shared = &self.0;
        let limits = lock(&shared.ahead).limits(first);
        let (mut group, mut bytes) = (vec![first], 0);
        let pack = shared.index.frames.get(first).map(|frame| frame.pack);
        // Of many frames that are here already, not all are looked at.
        for (position, frame) in shared.index.frames.iter().enumerate().skip(first + 1).take(limits.frames * 4) {
            let is_over = group.len() >= limits.frames || bytes + frame.length > limits.bytes;
            if is_over || Some(frame.pack) != pack {
                break;
            }
            let is_chosen = |number: &u32| {
                let missing = |(digest, size)| !shared.repository.has_object(&digest, size).unwrap_or(true);
                shared.index.entry(*number).is_some_and(missing)
                    && shared.frames.choose(&shared.index, &shared.repository, *number) == Some(position)
            };
            if frame.objects.iter().any(is_chosen) {
                group.push(position);
                bytes += frame.length;
            }
        }
        lock(&shared.ahead).begin(&group);
        group
    }

    fn fetch_group(&self, frames: &[usize], interrupt: Arc<AtomicBool>) -> Result<(), String> {
        let (shared, start) = (&self.0, Instant::now());
        let patience = Patience { interrupt: Some(interrupt), ..Patience::default() };
        let remote = Remote::new(&*shared.store, patience);
        let context = FetchContext {
            repository: &shared.repository,
            remote: &remote,
            index: &shared.index,
            guard: &shared.guard,
            shared: &shared.fetch,
            make_file: &shared.options.make_file,
        };
        let without_base = fetch_frames(&context, frames.to_vec()).map_err(|error| error.to_string())?;
        let lengths = frames.iter().filter_map(|frame| Some(shared.index.frames.get(*frame)?.length));
        lock(&shared.ahead).end(lengths.sum(), start.elapsed());
        // A base was lost or damaged: the objects come whole.
        let numbers = without_base.iter().filter_map(|digest| shared.frames.number(digest));
        let mut whole: Vec<usize> =
            numbers.filter_map(|number| shared.frames.choose_whole(&shared.index, number)).collect();
        whole.sort_unstable();
        whole.dedup();
        if !whole.is_empty() {
            fetch_frames(&context, whole).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn failed(error: libcomposefs_repo::RepositoryError) -> LazyError {
    LazyError::Failed(error.to_string())
}

impl std::fmt::Debug for LazyObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LazyObjects").field("image", &self.0.index.image.digest).finish_non_exhaustive()
    }
}
