//! The stack of jobs that the threads of a scan share.

use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::directory::DirectoryUse;
use crate::stat::InodeKey;
use libcomposefs_content::mutex::lock;

/// The type of an entry, as listed in its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Listed {
    /// A regular file, when it was listed.
    File = b'f',
    /// A directory, when it was listed.
    Directory = b'd',
    /// Another type, or the file system does not report types.
    Other = b'?',
}

/// Names of entries of one directory. Each name has a byte with the type before it and a NUL byte after it.
#[derive(Debug)]
pub(crate) struct EntryNames {
    bytes: Vec<u8>,
    /// Offset of the first name that was not taken.
    next: usize,
}

impl EntryNames {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), next: 0 }
    }

    pub(crate) fn push(&mut self, name: &std::ffi::CStr, listed: Listed) {
        // Not NUL, which separates the names.
        self.bytes.push(listed as u8);
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
    }

    /// Returns the number of bytes in the names that were not taken.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.next
    }

    pub(crate) fn next(&mut self) -> Option<(&std::ffi::CStr, Listed)> {
        let (kind, rest) = self.bytes.get(self.next..)?.split_first()?;
        let name = std::ffi::CStr::from_bytes_until_nul(rest).ok()?;
        self.next += name.count_bytes() + 2;
        let listed = [Listed::File, Listed::Directory].into_iter().find(|listed| *listed as u8 == *kind);
        Some((name, listed.unwrap_or(Listed::Other)))
    }

    /// Takes the latter half of the names, if there are at least two.
    pub(crate) fn split(&mut self) -> Option<EntryNames> {
        let rest = &self.bytes[self.next..];
        let middle = rest.len() / 2;
        let end = middle + rest[middle..].iter().position(|&b| b == 0)? + 1;
        if end == rest.len() {
            // The last name extends over the middle: take only that one, unless it is the only one.
            let start = rest[..middle].iter().rposition(|&b| b == 0)? + 1;
            return Some(self.split_at(start));
        }
        Some(self.split_at(end))
    }

    fn split_at(&mut self, at: usize) -> EntryNames {
        EntryNames { bytes: self.bytes.split_off(self.next + at), next: 0 }
    }
}

/// A piece of work.
#[derive(Debug)]
pub(crate) enum ScanJob {
    /// Open a directory, add it to the tree and list it. `key` is its inode if `lstat` was called before.
    Directory { parent: DirectoryUse, name: CString, key: Option<InodeKey> },
    /// List a directory that is open and in the tree.
    List(DirectoryUse),
    /// Scan some entries of a directory.
    Entries(DirectoryUse, EntryNames),
}

#[derive(Debug, Default)]
struct QueueState {
    jobs: Vec<ScanJob>,
    /// Number of threads that run a job.
    busy: usize,
}

/// The jobs to be done. The last one added is the next one taken.
#[derive(Debug, Default)]
pub(crate) struct ScanQueue {
    state: Mutex<QueueState>,
    wake: Condvar,
    /// Number of threads that wait for a job.
    waiting: AtomicUsize,
    len: AtomicUsize,
    stopped: AtomicBool,
}

impl ScanQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        lock(&self.state)
    }

    pub(crate) fn push(&self, job: ScanJob) {
        let mut state = self.lock();
        state.jobs.push(job);
        self.len.store(state.jobs.len(), Ordering::Relaxed);
        drop(state);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.wake.notify_one();
        }
    }

    /// Returns the number of waiting jobs.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Returns true if a thread is idle and no job is waiting for it.
    pub(crate) fn has_idle_thread(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 && self.len() == 0
    }

    /// Returns true if the work was stopped early.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Stops the work early.
    pub(crate) fn stop(&self) {
        // Under the lock, or a thread about to wait could miss it.
        let state = self.lock();
        self.stopped.store(true, Ordering::Relaxed);
        drop(state);
        self.wake.notify_all();
    }

    /// Runs jobs until no job is left and no running job can add one.
    pub(crate) fn work(&self, mut run: impl FnMut(ScanJob)) {
        let _guard = StopOnPanic(self);
        let mut state = self.lock();
        while !self.is_stopped() {
            if let Some(job) = state.jobs.pop() {
                self.len.store(state.jobs.len(), Ordering::Relaxed);
                state.busy += 1;
                drop(state);
                run(job);
                state = self.lock();
                state.busy -= 1;
            } else if state.busy == 0 {
                self.wake.notify_all();
                return;
            } else {
                // Under the lock, so that a thread that pushes a job afterwards sees it.
                self.waiting.fetch_add(1, Ordering::Relaxed);
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                self.waiting.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// Stops the other threads when one panics: they would wait for its job for ever.
struct StopOnPanic<'a>(&'a ScanQueue);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&std::ffi::CStr]) -> EntryNames {
        let mut names = EntryNames::new();
        list.iter().for_each(|n| names.push(n, listed(n)));
        names
    }

    fn listed(name: &std::ffi::CStr) -> Listed {
        match name.count_bytes() {
            1 => Listed::Other,
            2 | 3 => Listed::Directory,
            _ => Listed::File,
        }
    }

    fn all(mut names: EntryNames) -> Vec<CString> {
        let next = || {
            let (name, kind) = names.next()?;
            assert_eq!(kind, listed(name));
            Some(name.to_owned())
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_split_loses_no_name() {
        let list = [c"a", c"bb", c"a-rather-long-name", c"d", c"eeee", c"the-longest-name-of-all-of-them"];
        for count in 0..=list.len() {
            for taken in 0..=count {
                let mut first = names(&list[..count]);
                for _ in 0..taken {
                    first.next();
                }
                let second = first.split();
                assert_eq!(second.is_some(), count - taken >= 2, "{count} less {taken}");
                let mut both = all(first);
                assert!(both.len() < 2 || both.len() < count - taken);
                both.extend(second.map(all).unwrap_or_default());
                assert_eq!(both.iter().map(CString::as_c_str).collect::<Vec<_>>(), list[taken..count]);
            }
        }
    }

    #[test]
    fn a_panic_in_one_thread_ends_the_others() {
        let queue = ScanQueue::default();
        let budget = crate::directory::Budget::new(10);
        let file = crate::directory::open_root(std::path::Path::new("/")).unwrap();
        let meta = crate::stat::InodeStat::of_file(std::os::fd::AsFd::as_fd(&file)).unwrap();
        queue.push(ScanJob::List(DirectoryUse::root(c"/".to_owned(), file, &meta, &budget)));
        let panicked = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| queue.work(|_| panic!("on purpose, by a test")))).collect();
            threads.into_iter().map(|t| t.join().is_err()).filter(|p| *p).count()
        });
        assert_eq!(panicked, 1);
        assert!(queue.is_stopped());
    }
}
