//! Threads that help the calling one, which does all the work itself if no thread can be started.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most threads that work together, whatever is asked for: more gain nothing on any machine, and thousands exhaust
/// the kernel's memory maps, which ends the process.
pub const THREADS_MAX: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Runs `own` on the calling thread and `help` on up to `threads - 1` other threads at the same time. Returns when all
/// of them have returned.
///
/// Uses at most [`THREADS_MAX`] threads. If a thread cannot be started (`pids.max`, `RLIMIT_NPROC`, memory), the
/// function continues with fewer: `own` must be able to do the whole work.
///
/// # Panics
///
/// If `own` or `help` panics.
pub fn with_helpers<R>(threads: NonZeroUsize, help: impl Fn() + Sync, own: impl FnOnce() -> R) -> R {
    std::thread::scope(|scope| {
        for _ in 1..threads.min(THREADS_MAX).get() {
            if std::thread::Builder::new().spawn_scoped(scope, &help).is_err() {
                break;
            }
        }
        own()
    })
}

/// Runs both: at the same time if a thread can be started, else one after the other.
///
/// # Panics
///
/// If one of them does.
pub fn both<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    let (task, result) = (Mutex::new(Some(first)), Mutex::new(None));
    let help = || {
        // In a statement of its own, so that the lock is not held while the task runs.
        let task = lock(&task).take();
        if let Some(task) = task {
            let done = task();
            *lock(&result) = Some(done);
        }
    };
    let second = with_helpers(const { NonZeroUsize::new(2).unwrap() }, help, || {
        let second = second();
        help();
        second
    });
    let first = result.into_inner().unwrap_or_else(PoisonError::into_inner);
    (first.expect("the first task has ended"), second)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_threads_are_started_than_help() {
        let helpers = AtomicUsize::new(0);
        let help = || {
            helpers.fetch_add(1, Ordering::Relaxed);
        };
        for asked in [1, 2, 5, THREADS_MAX.get(), usize::MAX] {
            helpers.store(0, Ordering::Relaxed);
            assert_eq!(with_helpers(NonZeroUsize::new(asked).unwrap(), help, || 7), 7);
            let started = helpers.load(Ordering::Relaxed);
            // Fewer threads start if the machine has no room for more. The tests of the program show that none is
            // needed.
            assert!(started < asked.min(THREADS_MAX.get()), "{asked}: {started}");
        }
    }

    #[test]
    fn both_results_are_given() {
        assert_eq!(both(|| 1, || "two"), (1, "two"));
    }
}
