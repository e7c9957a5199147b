//! Jobs are fetched on several threads: each object is verified, and stored as it comes.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use libcomposefs_content::mutex::{into_inner, lock};
use libcomposefs_delta::FrameInfo;
use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;
use libcomposefs_repo::bundle::{FrameDecoder, FrameError};

use super::jobs::FetchJob;
use super::range_reader::{PieceReader, RangeAccess, RangeRead};
use super::storing::ArrivingObjects;
use crate::pack_writer::MakeFile;
use crate::{DeliveryError, FileName};

/// Frames whose objects and bases are larger than this together are decoded by few threads at once, in bytes.
const LARGE: u64 = 8 << 20;
/// Number of threads that decode large frames at once.
const LARGE_AT_ONCE: usize = 2;

/// Everything that the threads of a pull share.
pub(super) struct Fetcher<'a, 'r> {
    pub(super) repository: &'a Repository,
    pub(super) access: RangeAccess<'a>,
    pub(super) make_file: MakeFile<'a>,
    pub(super) threads: NonZeroUsize,
    pub(super) storing: &'a ArrivingObjects<'r>,
    /// Objects that are stored; others that a frame gives are not.
    pub(super) wanted: &'a HashSet<Digest>,
    /// The image, which is not stored here.
    pub(super) image: Digest,
    shared: FetchShared,
    image_bytes: Mutex<Option<Vec<u8>>>,
    /// Objects whose frames failed because of a base.
    without_base: Mutex<Vec<Digest>>,
}

/// What several fetches have together.
#[derive(Clone, Debug, Default)]
pub(crate) struct FetchShared {
    /// Packs of a server that ignores ranges, each read once.
    whole_files: Arc<Mutex<HashMap<FileName, WholeFile>>>,
    large: Arc<(Mutex<usize>, Condvar)>,
}

/// A file that is read whole, by the thread that has the lock first.
type WholeFile = Arc<Mutex<Option<File>>>;

/// What a fetch gives.
pub(super) struct FetchedJobs {
    /// Content of the image, if a job had it.
    pub(super) image: Option<Vec<u8>>,
    /// Objects that must be fetched in another way: a base is missing or damaged here.
    pub(super) without_base: Vec<Digest>,
}

impl<'a, 'r> Fetcher<'a, 'r> {
    pub(super) fn new(
        repository: &'a Repository,
        access: RangeAccess<'a>,
        (make_file, threads): (MakeFile<'a>, NonZeroUsize),
        storing: &'a ArrivingObjects<'r>,
        wanted: &'a HashSet<Digest>,
        image: Digest,
    ) -> Self {
        let (shared, image_bytes, without_base) = Default::default();
        Self { repository, access, make_file, threads, storing, wanted, image, shared, image_bytes, without_base }
    }

    /// Has this fetch and others use the same whole files, and decode few large frames at once together.
    pub(super) fn sharing(self, shared: &FetchShared) -> Self {
        Self { shared: shared.clone(), ..self }
    }

    /// Fetches all jobs. On an error, the objects that arrived before are stored.
    pub(super) fn run(self, jobs: &[FetchJob]) -> Result<FetchedJobs, DeliveryError> {
        let (next, stop, failed) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
        let work = || {
            while !stop.load(Ordering::Relaxed)
                && let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed))
            {
                if let Err(error) = self.fetch(job) {
                    lock(&failed).get_or_insert(error);
                    stop.store(true, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            let count = self.threads.get().min(jobs.len());
            (1..count).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        let stored = self.storing.finish();
        if let Some(error) = into_inner(failed) {
            return Err(error);
        }
        stored.map_err(libcomposefs_repo::RepositoryError::from)?;
        Ok(FetchedJobs { image: into_inner(self.image_bytes), without_base: into_inner(self.without_base) })
    }

    fn fetch(&self, job: &FetchJob) -> Result<(), DeliveryError> {
        self.access.remote.patience().proceed()?;
        if lock(&self.shared.whole_files).contains_key(&job.file) {
            return self.fetch_from_whole(job);
        }
        let mut reader = PieceReader::new(self.access, &job.file, job.size, job.start..job.end);
        if reader.begin()? == RangeRead::WholeOnly {
            return self.fetch_from_whole(job);
        }
        let mut at = job.start;
        for (offset, info) in &job.frames {
            // A frame that lies in another one, or overlaps it, comes from a hostile index.
            let overlaps = || format!("the frame at byte {offset} overlaps another one");
            let gap = offset.checked_sub(at).ok_or_else(|| self.access.remote.damaged(&job.file, overlaps()))?;
            let result = io::copy(&mut (&mut reader).take(gap), &mut io::sink());
            if result.is_err()
                && let Some(error) = reader.take_error()
            {
                return Err(error);
            }
            let mut input = (&mut reader).take(info.length);
            let decoded = self.decode(info, &mut input);
            let unread = io::copy(&mut input, &mut io::sink());
            if (decoded.is_err() || unread.is_err())
                && let Some(error) = reader.take_error()
            {
                return Err(error);
            }
            decoded.map_err(|source| self.frame_error(&job.file, *offset, source))?;
            at = offset.saturating_add(info.length);
        }
        Ok(())
    }

    /// Takes the frames of a job out of the whole file, which one thread reads.
    fn fetch_from_whole(&self, job: &FetchJob) -> Result<(), DeliveryError> {
        let whole = Arc::clone(lock(&self.shared.whole_files).entry(job.file.clone()).or_default());
        let mut whole = lock(&whole);
        let file = match &*whole {
            Some(file) => file,
            None => whole.insert(self.read_whole(job)?),
        };
        let mut file = file.try_clone().map_err(DeliveryError::Spool)?;
        for (offset, info) in &job.frames {
            file.seek(SeekFrom::Start(*offset)).map_err(DeliveryError::Spool)?;
            let decoded = self.decode(info, &mut (&mut file).take(info.length));
            decoded.map_err(|source| self.frame_error(&job.file, *offset, source))?;
        }
        Ok(())
    }

    fn read_whole(&self, job: &FetchJob) -> Result<File, DeliveryError> {
        let mut file = (self.make_file)().map_err(DeliveryError::Spool)?;
        let mut out = |bytes: &[u8]| file.write_all(bytes);
        self.access.read(&job.file, job.size, 0..job.size, true, &mut out)?;
        Ok(file)
    }

    fn frame_error(&self, file: &FileName, offset: u64, source: FrameError) -> DeliveryError {
        let location = self.access.remote.location();
        match source {
            FrameError::Store(error) => DeliveryError::Repository(error.into()),
            source => DeliveryError::Frame { location, file: file.path(), offset, source: Box::new(source) },
        }
    }

    /// Decodes one frame, and stores its objects.
    fn decode(&self, info: &FrameInfo, input: &mut (dyn Read + '_)) -> Result<(), FrameError> {
        let size = info.objects.iter().chain(&info.bases).fold(0u64, |sum, (_, size)| sum.saturating_add(*size));
        let _permit = (size > LARGE).then(|| LargePermit::take(&self.shared.large));
        let decoder = FrameDecoder::new(self.repository, info);
        let decoded = match &info.objects[..] {
            [(digest, _)] if *digest == self.image => decoder.contents(input).map(|mut contents| {
                *lock(&self.image_bytes) = contents.pop();
            }),
            objects => {
                let wanted = objects.iter().filter(|(digest, _)| self.wanted.contains(digest));
                let bytes = wanted.fold(0u64, |sum, (_, size)| sum.saturating_add(*size));
                let is_wanted = |digest: &Digest| self.wanted.contains(digest);
                self.storing.store(bytes, |batch| decoder.store(input, batch, &is_wanted))
            }
        };
        match decoded {
            // The repository has lost or damaged what it seemed to have: the objects come whole.
            Err(FrameError::NoBase { .. } | FrameError::Base { .. } | FrameError::DamagedBase(_)) => {
                lock(&self.without_base).extend(info.objects.iter().map(|(digest, _)| *digest));
                Ok(())
            }
            result => result,
        }
    }
}

/// The right to decode a large frame.
struct LargePermit<'a>(&'a (Mutex<usize>, Condvar));

impl<'a> LargePermit<'a> {
    fn take(large: &'a (Mutex<usize>, Condvar)) -> Self {
        let mut count = lock(&large.0);
        while *count >= LARGE_AT_ONCE {
            count = large.1.wait(count).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        *count += 1;
        Self(large)
    }
}

impl Drop for LargePermit<'_> {
    fn drop(&mut self) {
        *lock(&self.0.0) -= 1;
        self.0.1.notify_one();
    }
}
