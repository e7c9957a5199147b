//! The fetches that run: one for each frame, which all callers that need the frame wait for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use libcomposefs_content::mutex::lock;

/// Time for which a failure is the answer to callers that ask again: one `read(2)` of a program is several requests of
/// the kernel.
const FAILURE_LASTS: Duration = Duration::from_secs(1);

/// The result of waiting for a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FetchOutcome {
    Done,
    Failed(String),
    Timeout,
    Ended,
}

/// The fetches that run, by the numbers of their frames.
#[derive(Debug)]
pub(super) struct RunningFetches {
    state: Arc<(Mutex<FetchStates>, Condvar)>,
    max: usize,
}

#[derive(Debug, Default)]
struct FetchStates {
    fetches: HashMap<usize, RunningFetch>,
    failures: HashMap<usize, (Instant, FetchOutcome)>,
    waiting: u64,
    /// Number of threads, those included whose callers have given up.
    threads: usize,
    has_ended: bool,
    next: u64,
}

#[derive(Debug)]
struct RunningFetch {
    /// A number of this fetch, different from those of all others.
    id: u64,
    waiting: usize,
    interrupt: Arc<AtomicBool>,
}

impl RunningFetches {
    pub(super) fn new(max: usize) -> Self {
        Self { state: Arc::default(), max: max.max(1) }
    }

    /// Waits for the fetch of a frame, and starts it if it does not run.
    pub(super) fn join_or_start(
        &self,
        frame: usize,
        end: Instant,
        work: impl FnOnce(Arc<AtomicBool>) -> Result<(), String> + Send + 'static,
    ) -> FetchOutcome {
        let mut state = lock(&self.state.0);
        state.waiting += 1;
        let (mut state, outcome) = self.wait_for(state, frame, end, work);
        state.waiting -= 1;
        outcome
    }

    /// Returns the number of callers that wait, and of fetches that run.
    pub(super) fn counts(&self) -> (u64, u64) {
        let state = lock(&self.state.0);
        (state.waiting, state.threads as u64)
    }

    /// Ends all fetches as soon as they notice, and lets no caller wait for them.
    pub(super) fn end(&self) {
        let mut state = lock(&self.state.0);
        state.has_ended = true;
        state.fetches.values().for_each(|fetch| fetch.interrupt.store(true, Ordering::Relaxed));
        self.state.1.notify_all();
    }

    fn wait_for<'s>(
        &'s self,
        mut state: MutexGuard<'s, FetchStates>,
        frame: usize,
        end: Instant,
        work: impl FnOnce(Arc<AtomicBool>) -> Result<(), String> + Send + 'static,
    ) -> (MutexGuard<'s, FetchStates>, FetchOutcome) {
        loop {
            if state.has_ended {
                return (state, FetchOutcome::Ended);
            }
            if state.fetches.contains_key(&frame) {
                break;
            }
            match state.failures.get(&frame) {
                Some((at, outcome)) if at.elapsed() < FAILURE_LASTS => {
                    let outcome = outcome.clone();
                    return (state, outcome);
                }
                _ => drop(state.failures.remove(&frame)),
            }
            if state.threads < self.max {
                if let Err(error) = self.start(&mut state, frame, work) {
                    return (state, FetchOutcome::Failed(format!("cannot start a thread: {error}")));
                }
                break;
            }
            let is_late;
            (state, is_late) = self.pause(state, end);
            if is_late {
                return (state, FetchOutcome::Timeout);
            }
        }
        let Some(fetch) = state.fetches.get_mut(&frame) else { return (state, FetchOutcome::Ended) };
        fetch.waiting += 1;
        let id = fetch.id;
        loop {
            if state.has_ended {
                return (state, FetchOutcome::Ended);
            }
            match state.fetches.get_mut(&frame).filter(|fetch| fetch.id == id) {
                None => {
                    let outcome = state.failures.get(&frame).map_or(FetchOutcome::Done, |(_, outcome)| outcome.clone());
                    return (state, outcome);
                }
                Some(fetch) if Instant::now() >= end => {
                    fetch.waiting -= 1;
                    if fetch.waiting == 0 {
                        // No caller waits for it: the thread ends when it notices, and the next caller begins anew.
                        fetch.interrupt.store(true, Ordering::Relaxed);
                        state.fetches.remove(&frame);
                        state.failures.insert(frame, (Instant::now(), FetchOutcome::Timeout));
                    }
                    return (state, FetchOutcome::Timeout);
                }
                Some(_) => {}
            }
            (state, _) = self.pause(state, end);
        }
    }

    /// Waits for a change, and returns true if the time is over.
    fn pause<'s>(&'s self, state: MutexGuard<'s, FetchStates>, end: Instant) -> (MutexGuard<'s, FetchStates>, bool) {
        let left = end.saturating_duration_since(Instant::now());
        let waited = self.state.1.wait_timeout(state, left);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (state, Instant::now() >= end)
    }

    fn start(
        &self,
        state: &mut FetchStates,
        frame: usize,
        work: impl FnOnce(Arc<AtomicBool>) -> Result<(), String> + Send + 'static,
    ) -> std::io::Result<()> {
        let interrupt = Arc::new(AtomicBool::new(false));
        let (id, shared, flag) = (state.next, Arc::clone(&self.state), Arc::clone(&interrupt));
        let run = move || {
            // A panic is a failure of this fetch only.
            let work = std::panic::AssertUnwindSafe(|| work(flag));
            let result = std::panic::catch_unwind(work).unwrap_or_else(|_| Err("the fetch failed".to_owned()));
            let mut state = lock(&shared.0);
            state.threads -= 1;
            if state.fetches.get(&frame).is_some_and(|fetch| fetch.id == id) {
                state.fetches.remove(&frame);
                if let Err(reason) = result {
                    state.failures.insert(frame, (Instant::now(), FetchOutcome::Failed(reason)));
                }
            }
            shared.1.notify_all();
        };
        Builder::new().name("fetch".to_owned()).spawn(run)?;
        state.next += 1;
        state.threads += 1;
        state.fetches.insert(frame, RunningFetch { id, waiting: 0, interrupt });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    fn in_millis(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    #[test]
    fn all_who_need_a_frame_wait_for_one_fetch() {
        let (running, count) = (RunningFetches::new(2), Arc::new(AtomicUsize::new(0)));
        thread::scope(|scope| {
            for _ in 0..8 {
                let count = Arc::clone(&count);
                let work = move |_| {
                    count.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(100));
                    Ok(())
                };
                scope.spawn(|| assert_eq!(running.join_or_start(7, in_millis(5000), work), FetchOutcome::Done));
            }
        });
        assert_eq!((count.load(Ordering::SeqCst), running.counts()), (1, (0, 0)));
    }

    #[test]
    fn a_failure_is_the_answer_for_a_moment_and_not_for_ever() {
        let running = RunningFetches::new(2);
        let failed = running.join_or_start(1, in_millis(5000), |_| Err("away".to_owned()));
        assert_eq!(failed, FetchOutcome::Failed("away".into()));
        assert_eq!(running.join_or_start(1, in_millis(5000), |_| Ok(())), failed);
        assert_eq!(running.join_or_start(2, in_millis(5000), |_| Ok(())), FetchOutcome::Done);
        thread::sleep(FAILURE_LASTS);
        assert_eq!(running.join_or_start(1, in_millis(5000), |_| Ok(())), FetchOutcome::Done);
    }

    #[test]
    fn no_caller_waits_longer_than_the_time() {
        let running = RunningFetches::new(1);
        let hang = |interrupt: Arc<AtomicBool>| {
            while !interrupt.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_millis(200));
            Ok(())
        };
        assert_eq!(running.join_or_start(1, in_millis(50), hang), FetchOutcome::Timeout);
        // The only thread still hangs, so the next fetch does not start in time, and another one does later.
        assert_eq!(running.join_or_start(2, in_millis(20), |_| Ok(())), FetchOutcome::Timeout);
        assert_eq!(running.join_or_start(2, in_millis(5000), |_| Ok(())), FetchOutcome::Done);
        running.end();
        assert_eq!(running.join_or_start(3, in_millis(5000), |_| Ok(())), FetchOutcome::Ended);
    }
}
