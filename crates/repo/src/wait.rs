//! Waiting for a file lock that another process holds.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The first and the longest pause between two attempts to take a lock.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];
/// A longer wait is reported.
const SILENT: Duration = Duration::from_secs(1);

/// Policy of waiting for a lock: until interrupted, reporting a lock that is held for more than a second.
#[derive(Clone, Debug, Default)]
pub(crate) struct WaitPolicy {
    /// Set to true to cancel the operation.
    pub(crate) interrupt: Option<Arc<AtomicBool>>,
    /// Called once for each lock that another process holds for long, with the path of what is locked.
    pub(crate) tell: Option<fn(&Path, Waiting)>,
}

/// An event of waiting for a lock that another process holds for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// This process waits for the lock.
    Begins,
    /// This process only reads. It has waited for [`READER_WAITS`](crate::READER_WAITS), and continues without the
    /// lock.
    Ends,
}

/// Mode of a lock: with other processes, or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockMode {
    Shared,
    Exclusive,
}

impl WaitPolicy {
    /// Returns whether the operation was cancelled.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// Takes a lock. Polls instead of blocking: `flock` is not fair either.
    ///
    /// # Errors
    ///
    /// `EINTR` if the operation is cancelled.
    pub(crate) fn lock(&self, file: &OwnedFd, mode: LockMode, path: &Path) -> rustix::io::Result<()> {
        self.lock_within(file, mode, path, Duration::MAX)
    }

    /// Takes a lock, waiting for no longer than `limit`.
    ///
    /// # Errors
    ///
    /// `EINTR` if the operation is cancelled, `ETIMEDOUT` after `limit`.
    pub(crate) fn lock_within(
        &self,
        file: &OwnedFd,
        mode: LockMode,
        path: &Path,
        limit: Duration,
    ) -> rustix::io::Result<()> {
        let operation = match mode {
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
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
