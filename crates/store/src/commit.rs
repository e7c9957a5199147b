//! Turning temporary files into objects: sync, fs-verity, link, sync.
//!
//! The first sync comes before the first link, so that no name refers to a content that is not on disk. The second
//! one comes after the last link, so that the names are durable once [`Batch::finish`] returns.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use libcomposefs_content::mutex::{into_inner, lock};
use libcomposefs_content::thread_count;
use libcomposefs_image::digest::Digest;
use libcomposefs_image::threads::with_helpers;
use libcomposefs_sys::fs_magic::FsMagic;
use rustix::fs::{fsync, syncfs};
use rustix::io::Errno;

use crate::batch::{Batch, FEW};
use crate::commit_queue::PendingObject;
use crate::error::Error;
use crate::existing::{ExpectedContent, Presence};

/// Upper bound of threads that enable fs-verity. They wait for the disk most of the time.
const SEALERS_MAX: usize = 16;
const SEAL_AT_ONCE: usize = 8;
/// Objects per thread that links them; fewer are not worth a thread.
const LINK_AT_ONCE: usize = 256;

/// Runs all tasks on up to `threads` threads. The first error stops it: tasks that were not started are dropped.
fn do_all<T: Send>(
    threads: NonZeroUsize,
    tasks: Vec<T>,
    run: impl Fn(T) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let (tasks, failed) = (Mutex::new(tasks), Mutex::new(None));
    let next = || lock(&tasks).pop();
    let work = || {
        while let Some(task) = next() {
            if let Err(error) = run(task) {
                lock(&failed).get_or_insert(error);
                lock(&tasks).clear();
            }
        }
    };
    with_helpers(threads, work, work);
    into_inner(failed).map_or(Ok(()), Err)
}

impl Batch<'_> {
    /// Turns temporary files into durable objects. The directories they are linked in are synced later.
    pub(crate) fn commit(&self, mut waiting: Vec<PendingObject>) -> Result<(), Error> {
        if waiting.is_empty() {
            return Ok(());
        }
        let digests: Vec<Digest> = waiting.iter().map(|object| object.digest).collect();
        self.protect(&digests)?;
        self.proceed()?;
        self.sync_contents(&waiting)?;
        self.seal_all(&waiting)?;
        // Sorted by directory, so that each is opened once and no two threads use the same one.
        waiting.sort_unstable_by_key(|w| w.digest);
        let useful = NonZeroUsize::new(waiting.len().div_ceil(LINK_AT_ONCE)).unwrap_or(NonZeroUsize::MIN);
        let linkers = thread_count(None).min(useful);
        let share = waiting.len().div_ceil(linkers.get());
        let mut shares = Vec::new();
        while !waiting.is_empty() {
            shares.push(waiting.split_off(waiting.len().saturating_sub(share)));
        }
        do_all(linkers, shares, |share| self.link_all(share))
    }

    fn link_all(&self, objects: Vec<PendingObject>) -> Result<(), Error> {
        let mut fan: Option<(u8, OwnedFd)> = None;
        for object in objects {
            let first = object.digest.as_bytes()[0];
            let directory = match fan.take() {
                Some((open, directory)) if open == first => directory,
                _ => self.store.fan(&object.digest.object_path()[..2])?,
            };
            self.link(object, &directory)?;
            fan = Some((first, directory));
        }
        Ok(())
    }

    fn sync_contents(&self, waiting: &[PendingObject]) -> Result<(), Error> {
        if !self.sync_all.load(Ordering::Relaxed) && waiting.len() as u64 <= FEW || self.syncs_one_by_one() {
            for object in waiting {
                fsync(&object.temporary).map_err(|errno| self.store.object_error("sync", &object.digest, errno))?;
            }
            return Ok(());
        }
        self.store
            .directory()
            .and_then(syncfs)
            .map_err(|errno| self.store.store_error("sync the file system of", errno))
    }

    pub(crate) fn syncs_one_by_one(&self) -> bool {
        // On FUSE, `syncfs` may not reach the server that keeps the files.
        self.store.is_on(&[FsMagic::FUSE])
    }

    /// Enables fs-verity on all files. The kernel writes the Merkle tree and waits for it, file by file.
    fn seal_all(&self, waiting: &[PendingObject]) -> Result<(), Error> {
        if !self.store.wants_verity() {
            return Ok(());
        }
        let seal = |objects: &[PendingObject]| {
            objects.iter().try_for_each(|o| self.store.seal(o.temporary.as_fd(), &o.digest, true))
        };
        // The first files show if the file system supports fs-verity at all.
        let (first, rest) = waiting.split_at(waiting.len().min(SEAL_AT_ONCE));
        seal(first)?;
        if rest.is_empty() || !self.store.wants_verity() {
            return Ok(());
        }
        let share = rest.len().div_ceil(SEALERS_MAX).max(SEAL_AT_ONCE);
        let threads = NonZeroUsize::new(rest.len().div_ceil(share)).unwrap_or(NonZeroUsize::MIN);
        do_all(threads, rest.chunks(share).collect(), seal)
    }

    fn link(&self, mut object: PendingObject, directory: &OwnedFd) -> Result<(), Error> {
        let PendingObject { digest, size, .. } = object;
        let path = digest.object_path();
        let (mut replace, mut is_wrong) = (object.replace, object.is_wrong);
        if !replace {
            match object.temporary.link(directory.as_fd(), &path[3..]) {
                Ok(()) => {}
                Err(error) if Errno::from_io_error(&error) == Some(Errno::EXIST) => {
                    // Another process has linked the object first. Check it like any existing object.
                    match self.store.check(&digest, ExpectedContent::Size(size))? {
                        Presence::Right(file) => return self.found(&digest, file).map(|_| ()),
                        Presence::Shared(_) => replace = true,
                        Presence::Absent | Presence::Wrong => (replace, is_wrong) = (true, true),
                    }
                }
                Err(error) => return Err(self.store.object_error("link", &digest, error)),
            }
        }
        if replace {
            let replaced = object.temporary.replace(directory.as_fd(), &path[3..]);
            replaced.map_err(|error| self.store.object_error("replace", &digest, error))?;
        }
        self.touch(&digest);
        let mut summary = lock(&self.summary);
        summary.bytes_written += size;
        if is_wrong {
            summary.repaired.push(digest);
        } else {
            summary.new += 1;
        }
        Ok(())
    }

    /// Syncs the directories, which makes the names durable.
    pub(crate) fn sync_directories(&self) -> Result<(), Error> {
        let failed = |errno| self.store.store_error("sync", errno);
        if self.sync_all.load(Ordering::Relaxed) && !self.syncs_one_by_one() {
            return self.store.directory().and_then(syncfs).map_err(failed);
        }
        let mut any = false;
        for (first, touched) in self.touched.iter().enumerate() {
            if touched.load(Ordering::Relaxed) {
                any = true;
                let directory = self.store.fan(&format!("{first:02x}"))?;
                fsync(directory).map_err(failed)?;
            }
        }
        if any { self.store.directory().and_then(fsync).map_err(failed) } else { Ok(()) }
    }
}
