//! Storing many objects in one batch.
//!
//! New objects are first written to unnamed temporary files. When enough of them wait, or at the end, all are synced
//! together and only then linked (`commit.rs`): one sync for thousands of files costs little more than one sync for a
//! single file.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use libcomposefs_content::mutex::{into_inner, lock};
use libcomposefs_content::{SourceFile, digest_pieces};
use libcomposefs_image::digest::Digest;
use libcomposefs_image::verity;
use libcomposefs_sys::copy::READ_SIZE;
use libcomposefs_sys::limits::open_files_max;
use libcomposefs_sys::sparse::SparseWriter;
use rustix::fs::fsync;

use crate::commit_queue::CommitQueue;
use crate::error::Error;
use crate::existing::{ExpectedContent, Presence};
use crate::ingest::{Copier, Temporary};
use crate::object_dir::ObjectDir;

/// Up to this many files are synced one by one: syncing the file system would also wait for the data of other
/// processes.
pub(crate) const FEW: u64 = 8;

/// The result of storing one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutOutcome {
    /// The object did not exist and was added.
    New,
    /// The object existed and is intact.
    Present,
    /// The name of the object was taken by something else, which was replaced.
    Repaired,
    /// The object existed and is intact, but the file has other hard links or another owner, so fs-verity must not be
    /// enabled in place. A copy replaced it.
    Copied,
    /// The same content occurred before in this batch.
    Repeated,
}

/// Statistics of a finished batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Number of objects that were added.
    pub new: u64,
    /// Number of objects that existed already.
    pub present: u64,
    /// Number of contents that occurred more than once; not counted in the other fields.
    pub repeated: u64,
    /// Total size of all objects that were added or repaired.
    pub bytes_written: u64,
    /// Digests of the objects that existed but were damaged and have been replaced, sorted. A process that has the
    /// old file open, also through a mount, still reads the old content.
    pub repaired: Vec<Digest>,
}

/// Protects objects from a garbage collector until a reference to them exists.
pub trait GcGuard: Send + Sync + std::fmt::Debug {
    /// Protects these objects. After it has returned, the gc removes none of them, neither those that are stored
    /// already nor those that are stored later.
    ///
    /// # Errors
    ///
    /// The objects could not be protected: the batch fails.
    fn protect(&self, digests: &[Digest]) -> Result<(), Error>;

    /// Fails if the operation was cancelled.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`]: the batch stops and stores nothing more.
    fn proceed(&self) -> Result<(), Error>;
}

/// A batch of objects being added to a store. No object is guaranteed to be in the store before
/// [`finish`](Self::finish) has returned. A batch that is dropped leaves no partial objects.
///
/// # Examples
///
/// Store an object and read it back:
///
/// ```
/// use libcomposefs_image::digest::Algorithm;
/// use libcomposefs_store::{ObjectDir, PutOutcome, StorePolicy};
///
/// let dir = tempfile::tempdir()?;
/// let store = ObjectDir::create(&dir.path().join("objects"), Algorithm::Sha256, StorePolicy::default())?;
/// let batch = store.batch();
/// let (digest, outcome) = batch.put_bytes(b"hello")?;
/// assert_eq!(outcome, PutOutcome::New);
/// assert_eq!(batch.finish()?.new, 1);
///
/// let file = store.open_object(&digest)?.expect("the object was stored");
/// assert_eq!(std::io::read_to_string(std::fs::File::from(file))?, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Batch<'s> {
    pub(crate) store: &'s ObjectDir,
    /// Protects each object before the batch relies on it.
    pub(crate) guard: Option<Arc<dyn GcGuard>>,
    /// Digests whose stored object must be replaced even if fs-verity reports the expected digest: measuring does not
    /// read the data, so a bad sector goes unnoticed.
    distrusted: HashSet<Digest>,
    pub(crate) copier: Copier,
    /// Digests of this batch so far, in one locked set per first hex digit.
    pub(crate) seen: [Mutex<HashSet<Digest>>; 16],
    pub(crate) queue: CommitQueue,
    /// Held by the committing thread, so that at most twice the bounds can wait.
    pub(crate) committing: Mutex<()>,
    /// Set if the last content existed already: then the next large file is hashed before it is copied.
    pub(crate) expect_present: AtomicBool,
    /// The directories `xx` that existed at the start. In others no lookup is done: the batch knows its own objects,
    /// and one that another process adds there meanwhile is found when ours is linked.
    there: [bool; 256],
    pub(crate) summary: Mutex<Summary>,
    pub(crate) present: AtomicU64,
    /// The first objects that existed already. If there are only a few, each is synced at the end.
    found: Mutex<Vec<(Digest, Option<OwnedFd>)>>,
    /// Set if the files in `found` stay open until then. If the limit of open files is low, they are opened again.
    keeps_found: bool,
    repeated: AtomicU64,
    /// Set if an object could not be stored, though it counts as seen.
    pub(crate) has_failed: AtomicBool,
    /// Set if the whole file system must be synced, as some files were not synced one by one.
    pub(crate) sync_all: AtomicBool,
    /// The directories `xx` that have an object of this batch.
    pub(crate) touched: [AtomicBool; 256],
}

impl ObjectDir {
    /// Starts a batch. It uses up to a quarter of the files that the process may have open.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        self.batch_of((open_files_max() / 8).clamp(1, 8192))
    }

    /// Like [`batch_guarded`](Self::batch_guarded), and replaces the stored objects of `distrusted`, even if
    /// fs-verity reports the expected digest.
    #[must_use]
    pub fn batch_replacing(&self, guard: Arc<dyn GcGuard>, distrusted: HashSet<Digest>) -> Batch<'_> {
        Batch { distrusted, ..self.batch_guarded(guard) }
    }

    /// Like [`batch`](Self::batch), in a store from which a gc may remove objects at the same time: `guard` protects
    /// each object before the batch relies on it.
    #[must_use]
    pub fn batch_guarded(&self, guard: Arc<dyn GcGuard>) -> Batch<'_> {
        Batch { guard: Some(guard), ..self.batch() }
    }

    /// Like [`batch`](Self::batch), but commits whenever `waiting_max` objects wait.
    pub(crate) fn batch_of(&self, waiting_max: usize) -> Batch<'_> {
        let there = self.fans_there();
        Batch {
            store: self,
            guard: None,
            distrusted: HashSet::new(),
            copier: Copier::new(self),
            seen: Default::default(),
            queue: CommitQueue::new(waiting_max),
            committing: Mutex::new(()),
            expect_present: AtomicBool::new(there.contains(&true)),
            there,
            summary: Mutex::default(),
            present: AtomicU64::new(0),
            found: Mutex::default(),
            keeps_found: open_files_max() >= 256,
            repeated: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
            sync_all: AtomicBool::new(false),
            touched: [const { AtomicBool::new(false) }; 256],
        }
    }
}

impl Batch<'_> {
    /// Returns the store that the batch writes to.
    #[must_use]
    pub fn store(&self) -> &ObjectDir {
        self.store
    }

    /// Stores bytes from memory.
    ///
    /// # Errors
    ///
    /// An object cannot be read or written. Objects stored before in this batch may or may not be in the store then.
    pub fn put_bytes(&self, content: &[u8]) -> Result<(Digest, PutOutcome), Error> {
        self.put(verity::digest(self.store.algorithm(), content), content, None)
    }

    /// Stores bytes from memory whose digest the caller has computed.
    ///
    /// # Errors
    ///
    /// As [`put_bytes`](Self::put_bytes).
    pub fn put_hashed(&self, digest: Digest, content: &[u8]) -> Result<PutOutcome, Error> {
        Ok(self.put(digest, content, None)?.1)
    }

    /// Stores bytes from memory under their digest.
    pub(crate) fn put(
        &self,
        digest: Digest,
        content: &[u8],
        source: Option<&SourceFile<'_>>,
    ) -> Result<(Digest, PutOutcome), Error> {
        self.proceed()?;
        let temporary = || self.copier.store_bytes(self.store, &digest, content, source);
        self.finish_put(digest, ExpectedContent::Bytes(content), temporary)
    }

    /// Stores the content of a file, reading it with `buffer` (best 1 MiB long). Returns the digest of the stored
    /// bytes.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or as [`put_bytes`](Self::put_bytes).
    pub fn put_file(&self, source: &SourceFile<'_>, buffer: &mut [u8]) -> Result<(Digest, PutOutcome), Error> {
        self.proceed()?;
        if self.expect_present.load(Ordering::Relaxed) {
            let digest = digest_pieces(source.file, self.store.algorithm(), buffer)?;
            if self.is_seen(&digest) {
                self.first_seen(&digest);
                return Ok((digest, PutOutcome::Repeated));
            }
            if let Presence::Right(file) = self.look(&digest, ExpectedContent::Size(source.size))? {
                return if self.first_seen(&digest) {
                    self.found(&digest, file)
                } else {
                    Ok((digest, PutOutcome::Repeated))
                };
            }
        }
        let (temporary, digest, size) = self.copier.store_file(self.store, source, buffer, &|| self.proceed())?;
        self.finish_put(digest, ExpectedContent::Size(size), || Ok(temporary))
    }

    /// Returns true if an object is in this batch, or is intact in the store. The batch then protects it.
    ///
    /// # Errors
    ///
    /// The object cannot be read.
    pub fn contains(&self, digest: &Digest, size: u64) -> Result<bool, Error> {
        self.proceed()?;
        if self.is_seen(digest) {
            return Ok(true);
        }
        match self.look_everywhere(digest, ExpectedContent::Size(size))? {
            Presence::Right(file) => {
                if self.first_seen(digest) {
                    self.found(digest, file)?;
                }
                Ok(true)
            }
            Presence::Shared(file) => {
                let source =
                    SourceFile::of(file.as_fd()).map_err(|error| self.store.object_error("stat", digest, error))?;
                Ok(self.put_file(&source, &mut vec![0; READ_SIZE])?.0 == *digest)
            }
            Presence::Absent | Presence::Wrong => Ok(false),
        }
    }

    /// Stores the bytes that `write` writes; `write` also returns their digest. Runs of zeros become holes.
    ///
    /// # Errors
    ///
    /// `write` failed, or as [`put_bytes`](Self::put_bytes).
    pub fn put_written(
        &self,
        write: impl FnOnce(&mut SparseWriter<'_>) -> io::Result<Digest>,
    ) -> Result<(Digest, PutOutcome), Error> {
        let failed = |error: io::Error| self.store.store_error("write a temporary file in", error);
        let temporary = self.copier.create(self.store)?;
        let mut out = SparseWriter::new(temporary.as_fd());
        let digest = write(&mut out).map_err(failed)?;
        let size = out.finish().map_err(failed)?;
        self.finish_put(digest, ExpectedContent::Size(size), || Ok(temporary))
    }

    /// Queues the temporary file that `make` returns as the object of this digest, unless the batch or the store has
    /// the object.
    pub(crate) fn finish_put(
        &self,
        digest: Digest,
        expected: ExpectedContent<'_>,
        make: impl FnOnce() -> Result<Temporary, Error>,
    ) -> Result<(Digest, PutOutcome), Error> {
        if !self.first_seen(&digest) {
            return Ok((digest, PutOutcome::Repeated));
        }
        let put = self.put_first(digest, expected, make);
        if put.is_err() {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        put.map(|outcome| (digest, outcome))
    }

    fn put_first(
        &self,
        digest: Digest,
        expected: ExpectedContent<'_>,
        make: impl FnOnce() -> Result<Temporary, Error>,
    ) -> Result<PutOutcome, Error> {
        let outcome = match self.look(&digest, expected)? {
            Presence::Right(file) => return Ok(self.found(&digest, file)?.1),
            Presence::Absent => PutOutcome::New,
            Presence::Shared(_) => PutOutcome::Copied,
            Presence::Wrong => PutOutcome::Repaired,
        };
        self.enqueue(digest, make()?, expected.size(), outcome)?;
        Ok(outcome)
    }

    pub(crate) fn shard(&self, digest: &Digest) -> MutexGuard<'_, HashSet<Digest>> {
        lock(&self.seen[usize::from(digest.as_bytes()[0] >> 4)])
    }

    /// Fails if the operation was cancelled.
    pub(crate) fn proceed(&self) -> Result<(), Error> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.proceed())
    }

    /// Records the digest. Returns true the first time it occurs in this batch.
    fn first_seen(&self, digest: &Digest) -> bool {
        let first = self.shard(digest).insert(*digest);
        if !first {
            self.repeated.fetch_add(1, Ordering::Relaxed);
        }
        first
    }

    fn is_seen(&self, digest: &Digest) -> bool {
        self.shard(digest).contains(digest)
    }

    /// Counts an object that existed already. The process that added it may not have synced it.
    pub(crate) fn found(&self, digest: &Digest, file: Option<OwnedFd>) -> Result<(Digest, PutOutcome), Error> {
        self.touch(digest);
        self.expect_present.store(true, Ordering::Relaxed);
        if self.present.fetch_add(1, Ordering::Relaxed) < FEW {
            lock(&self.found).push((*digest, file.filter(|_| self.keeps_found)));
        } else {
            self.sync_all.store(true, Ordering::Relaxed);
        }
        Ok((*digest, PutOutcome::Present))
    }

    pub(crate) fn touch(&self, digest: &Digest) {
        let first = usize::from(digest.as_bytes()[0]);
        self.touched[first].store(true, Ordering::Relaxed);
    }

    /// Checks the file under the name of an object, if its directory existed when the batch began.
    fn look(&self, digest: &Digest, expected: ExpectedContent<'_>) -> Result<Presence, Error> {
        if !self.there[usize::from(digest.as_bytes()[0])] {
            return Ok(Presence::Absent);
        }
        self.look_everywhere(digest, expected)
    }

    /// Checks the file under the name of an object.
    fn look_everywhere(&self, digest: &Digest, expected: ExpectedContent<'_>) -> Result<Presence, Error> {
        self.protect(&[*digest])?;
        if self.distrusted.contains(digest) {
            return Ok(Presence::Wrong);
        }
        self.store.check(digest, expected)
    }

    /// Protects the objects from the gc.
    pub(crate) fn protect(&self, digests: &[Digest]) -> Result<(), Error> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.protect(digests))
    }

    /// Commits the waiting objects: what was stored or found before the call is on disk under its name afterwards.
    ///
    /// # Errors
    ///
    /// An object cannot be synced or linked. The batch has lost objects then, and must not be finished.
    pub fn flush(&self) -> Result<(), Error> {
        let _committing = lock(&self.committing);
        let waiting = self.queue.take()?;
        self.sync_all.store(true, Ordering::Relaxed);
        self.commit(waiting)?;
        self.sync_directories()
    }

    /// Commits all waiting objects. When this returns, every object that was stored or found is on disk under its
    /// name.
    ///
    /// # Errors
    ///
    /// An object cannot be synced or linked. The others may or may not be in the store then.
    pub fn finish(self) -> Result<Summary, Error> {
        let waiting = self.queue.take()?;
        if waiting.len() as u64 > FEW {
            self.sync_all.store(true, Ordering::Relaxed);
        }
        self.commit(waiting)?;
        if !self.sync_all.load(Ordering::Relaxed) || self.syncs_one_by_one() {
            for (digest, file) in std::mem::take(&mut *lock(&self.found)) {
                let opened = file.map_or_else(|| self.store.try_open(&digest), Ok);
                opened.and_then(fsync).map_err(|errno| self.store.object_error("sync", &digest, errno))?;
            }
        }
        self.sync_directories()?;
        let mut summary = into_inner(self.summary);
        summary.repaired.sort();
        summary.present = self.present.into_inner();
        summary.repeated = self.repeated.into_inner();
        Ok(summary)
    }
}
