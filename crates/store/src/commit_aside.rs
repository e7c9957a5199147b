//! A thread that commits the objects of a batch while other threads add more.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, MutexGuard, PoisonError};

use libcomposefs_content::mutex::lock;
use libcomposefs_image::digest::Digest;

use crate::batch::{Batch, PutOutcome};
use crate::commit_queue::{CommitQueue, CommitState, PendingObject};
use crate::error::Error;
use crate::ingest::Temporary;

/// Ends the committer when it is dropped, also by a panic.
struct CommitterEnd<'q>(&'q CommitQueue);

impl Drop for CommitterEnd<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).is_ended = true;
        self.0.work.notify_all();
    }
}

/// Tells the waiting threads when it is dropped, also by a panic, that there is no committer any more.
struct CommitterGone<'q>(&'q CommitQueue);

impl Drop for CommitterGone<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).has_committer = false;
        self.0.taken.notify_all();
    }
}

fn wait<'m>(condition: &Condvar, state: MutexGuard<'m, CommitState>) -> MutexGuard<'m, CommitState> {
    condition.wait(state).unwrap_or_else(PoisonError::into_inner)
}

impl Batch<'_> {
    /// Runs `fill`, which stores contents in the batch on one or more threads. Objects are meanwhile synced and linked
    /// by a thread of its own, so that no thread of `fill` stops reading for it. Those that wait when `fill` returns
    /// wait until the batch is flushed or finished, unless [`commit_early`](Self::commit_early) asked for them.
    ///
    /// An error of that thread is returned by the next call that stores a content, or by [`finish`](Self::finish).
    /// If the thread cannot be started, the threads of `fill` do its work.
    pub fn commit_aside<R>(&self, fill: impl FnOnce() -> R) -> R {
        std::thread::scope(|scope| {
            {
                let mut state = lock(&self.queue.state);
                state.is_ended = false;
                state.has_committer =
                    std::thread::Builder::new().spawn_scoped(scope, || self.commit_until_ended()).is_ok();
            }
            let _end = CommitterEnd(&self.queue);
            fill()
        })
    }

    /// Asks the thread of [`commit_aside`](Self::commit_aside) to commit what waits now. Does nothing without it.
    pub fn commit_early(&self) {
        let mut state = lock(&self.queue.state);
        state.is_asked = state.has_committer;
        self.queue.work.notify_one();
    }

    fn commit_until_ended(&self) {
        let _gone = CommitterGone(&self.queue);
        loop {
            {
                let mut state = lock(&self.queue.state);
                while !(state.is_ended || state.is_asked || self.queue.is_full(&state)) {
                    state = wait(&self.queue.work, state);
                }
                // What was asked for is done, even if the end was announced meanwhile.
                if !std::mem::take(&mut state.is_asked) && !self.queue.is_full(&state) {
                    return;
                }
            }
            // Taken under this lock, so that a flush that finds nothing waiting has waited for what is committed here.
            let _committing = lock(&self.committing);
            let waiting = lock(&self.queue.state).take();
            self.queue.taken.notify_all();
            self.sync_all.store(true, Ordering::Relaxed);
            if let Err(error) = self.commit(waiting) {
                lock(&self.queue.state).failed = Some(error);
                return;
            }
        }
    }

    /// Adds an object to those that wait. If enough wait, they are committed.
    pub(crate) fn enqueue(
        &self,
        digest: Digest,
        mut temporary: Temporary,
        size: u64,
        outcome: PutOutcome,
    ) -> Result<(), Error> {
        self.expect_present.store(false, Ordering::Relaxed);
        if self.store.may_have_verity(temporary.as_fd(), &digest)? {
            temporary
                .reopen_read_only()
                .map_err(|error| self.store.store_error("reopen a temporary file in", error))?;
        }
        let mut state = lock(&self.queue.state);
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        state.bytes += size;
        let is_wrong = outcome == PutOutcome::Repaired;
        let replace = is_wrong || outcome == PutOutcome::Copied;
        state.waiting.push(PendingObject { digest, temporary, size, replace, is_wrong });
        if !self.queue.is_full(&state) {
            return Ok(());
        }
        if state.has_committer {
            self.queue.work.notify_one();
            // While the committer works, the queue fills a second time.
            while state.has_committer && self.queue.is_full(&state) {
                state = wait(&self.queue.taken, state);
            }
            return state.failed.take().map_or(Ok(()), Err);
        }
        drop(state);
        // The other threads continue to fill the queue, and wait here when it is full again.
        let _committing = lock(&self.committing);
        let mut state = lock(&self.queue.state);
        if !self.queue.is_full(&state) {
            return Ok(());
        }
        let waiting = state.take();
        drop(state);
        self.sync_all.store(true, Ordering::Relaxed);
        self.commit(waiting)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::{Duration, Instant};

    use libcomposefs_image::digest::Algorithm;

    use super::*;
    use crate::batch::GcGuard;
    use crate::{ObjectDir, StorePolicy};

    fn store(dir: &tempfile::TempDir) -> ObjectDir {
        ObjectDir::create(&dir.path().join("objects"), Algorithm::Sha256, StorePolicy::default()).unwrap()
    }

    fn content(thread: usize, number: usize) -> Vec<u8> {
        format!("content {number} of thread {thread}").into_bytes()
    }

    fn wait_for(store: &ObjectDir, digest: &Digest) {
        let start = Instant::now();
        while store.try_open(digest).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "the object gets no name");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn objects_are_committed_while_threads_add_more() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let batch = store.batch_of(4);
        batch.commit_aside(|| {
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let batch = &batch;
                    scope.spawn(move || (0..100).for_each(|n| assert!(batch.put_bytes(&content(thread, n)).is_ok())));
                }
            });
            // Less than a full queue is committed when it is asked for, and by a flush.
            let (digest, _) = batch.put_bytes(b"asked for").unwrap();
            batch.commit_early();
            wait_for(&store, &digest);
            let (digest, _) = batch.put_bytes(b"flushed").unwrap();
            batch.flush().unwrap();
            assert!(store.try_open(&digest).is_ok());
        });
        // Without the thread, nothing happens on request.
        let (last, _) = batch.put_bytes(b"last").unwrap();
        batch.commit_early();
        assert!(store.try_open(&last).is_err());
        assert_eq!(batch.finish().unwrap().new, 403);
        assert!(store.try_open(&last).is_ok());
        for (thread, number) in (0..4).flat_map(|thread| (0..100).map(move |number| (thread, number))) {
            let digest = libcomposefs_image::verity::digest(Algorithm::Sha256, &content(thread, number));
            assert!(store.try_open(&digest).is_ok(), "{number} of {thread}");
        }
    }

    /// Fails from a call of `protect` on.
    #[derive(Debug)]
    struct FailsFrom(usize, AtomicUsize);

    impl GcGuard for FailsFrom {
        fn protect(&self, _: &[Digest]) -> Result<(), Error> {
            if self.1.fetch_add(1, Ordering::Relaxed) < self.0 { Ok(()) } else { Err(Error::Interrupted) }
        }

        fn proceed(&self) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn an_error_of_the_committer_is_returned_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let batch = |from| {
            let mut batch = store.batch_of(4);
            batch.guard = Some(Arc::new(FailsFrom(from, AtomicUsize::new(0))));
            batch
        };
        let fill = |batch: &Batch<'_>| (0..100).try_for_each(|n| batch.put_bytes(&content(0, n)).map(|_| ()));
        // By a call that stores a content.
        let failing = batch(2);
        let error = failing.commit_aside(|| fill(&failing)).unwrap_err();
        assert!(matches!(error, Error::Interrupted), "{error}");
        // By the end, if there is no such call.
        let failing = batch(0);
        failing.commit_aside(|| {
            failing.put_bytes(b"one").unwrap();
            failing.commit_early();
        });
        assert!(matches!(failing.finish(), Err(Error::Interrupted)));
        // The twin.
        let whole = batch(usize::MAX);
        whole.commit_aside(|| fill(&whole)).unwrap();
        let summary = whole.finish().unwrap();
        assert_eq!(summary.new + summary.present, 100);
    }
}
