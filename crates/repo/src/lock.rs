//! The lock that all programs share which know this layout: `flock` on the directory of the repository.
//!
//! Others hold it shared as long as they run, and alone to remove things. We hold it shared for as long as publishing takes,
//! and alone for a short while at a time, when things are removed (`docs/format/repository.md`, section 5).

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use super::{Repository, RepositoryError, io_error};

/// The first and the longest pause between two looks at a lock that somebody else has.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];
/// Who waits longer than this is told.
const SILENT: Duration = Duration::from_secs(1);

/// How one waits for others: until one is interrupted, and not without a word.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patience {
    /// Set when it is to be given up.
    pub(crate) interrupt: Option<Arc<AtomicBool>>,
    /// Called once for each lock that others keep for long, with what is locked.
    pub(crate) tell: Option<fn(&Path, Waiting)>,
}

/// What there is to tell of a lock that another process holds for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// This process waits for it.
    Begins,
    /// This process only reads: it has waited for [`READER_WAITS`](super::READER_WAITS), and goes on without the lock.
    Ends,
}

impl Patience {
    /// Whether it is to be given up.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// Takes a lock. A look now and then is as good as a call that waits: of those who wait nobody comes first.
    ///
    /// # Errors
    ///
    /// `EINTR` if it is given up.
    pub(crate) fn lock(&self, file: &OwnedFd, how: Lock, path: &Path) -> rustix::io::Result<()> {
        self.lock_within(file, how, path, Duration::MAX)
    }

    /// The same, but waits no longer than `limit`.
    ///
    /// # Errors
    ///
    /// `EINTR` if it is given up, `ETIMEDOUT` after `limit`.
    pub(crate) fn lock_within(
        &self,
        file: &OwnedFd,
        how: Lock,
        path: &Path,
        limit: Duration,
    ) -> rustix::io::Result<()> {
        let operation = match how {
            Lock::Shared => FlockOperation::NonBlockingLockShared,
            Lock::Alone => FlockOperation::NonBlockingLockExclusive,
        };
        let ([mut pause, longest], mut waited, mut told) = (PAUSES, Duration::ZERO, false);
        loop {
            match flock(file, operation) {
                Err(Errno::WOULDBLOCK) => {}
                Err(Errno::INTR) => continue,
                result => return result,
            }
            if self.is_interrupted() {
                return Err(Errno::INTR);
            }
            if waited >= limit {
                if told {
                    self.tell.inspect(|tell| tell(path, Waiting::Ends));
                }
                return Err(Errno::TIMEDOUT);
            }
            if waited > SILENT && !told {
                told = true;
                self.tell.inspect(|tell| tell(path, Waiting::Begins));
            }
            std::thread::sleep(pause);
            waited += pause;
            pause = (pause * 2).min(longest);
        }
    }
}

/// How a file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// With others who share it.
    Shared,
    /// With nobody else.
    Alone,
}

/// The lock, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Locked {
    _directory: OwnedFd,
}

impl Repository {
    /// Keeps others from removing anything.
    pub(crate) fn lock_shared(&self) -> Result<Locked, RepositoryError> {
        self.lock(Lock::Shared)
    }

    /// Waits for all who publish, and keeps others from doing so.
    pub(crate) fn lock_alone(&self) -> Result<Locked, RepositoryError> {
        self.lock(Lock::Alone)
    }

    fn lock(&self, how: Lock) -> Result<Locked, RepositoryError> {
        // A lock belongs to an open file: each needs one of its own.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(&self.directory, ".", flags, Mode::empty()).map_err(io_error("open", &self.path))?;
        self.patience.lock(&directory, how, &self.path).map_err(cannot_lock(&self.path))?;
        Ok(Locked { _directory: directory })
    }
}

/// The error of a lock that was given up, or cannot be had.
pub(crate) fn cannot_lock(path: &Path) -> impl FnOnce(Errno) -> RepositoryError {
    move |errno| match errno {
        Errno::INTR => RepositoryError::Store(libcomposefs_store::Error::Interrupted),
        errno => io_error("lock", path)(errno),
    }
}
