//! The fetches that run, each of a group of frames. All callers that need one of the frames wait for the same fetch.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
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
    /// A fetch of several frames failed, perhaps by another one: this frame may come alone.
    GroupFailed,
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
    /// The fetch of each frame, by the number of the fetch.
    frames: HashMap<usize, u64>,
    fetches: HashMap<u64, RunningFetch>,
    failures: HashMap<usize, (Instant, FetchOutcome)>,
    waiting: u64,
    /// Number of threads, those included whose callers have given up.
    threads: usize,
    has_ended: bool,
    next: u64,
}

#[derive(Debug)]
struct RunningFetch {
    frames: Vec<usize>,
    /// The outcome, once the fetch has ended.
    outcome: Arc<OnceLock<FetchOutcome>>,
    waiting: usize,
    interrupt: Arc<AtomicBool>,
}

impl RunningFetches {
    pub(super) fn new(max: usize) -> Self {
        Self { state: Arc::default(), max: max.max(1) }
    }

    /// Waits for the fetch of a frame, and starts one if none has the frame: of the frames that `group` returns, which
    /// begin with this one.
    pub(super) fn join_or_start(
        &self,
        frame: usize,
        end: Instant,
        group: impl FnOnce() -> Vec<usize>,
        work: impl FnOnce(&[usize], Arc<AtomicBool>) -> Result<(), String> + Send + 'static,
    ) -> FetchOutcome {
        let mut state = lock(&self.state.0);
        state.waiting += 1;
        let (mut state, outcome) = self.wait_for(state, (frame, self.max), end, group, work);
        state.waiting -= 1;
        outcome
    }

    /// Does the same for a frame that no reader needs yet: one of five fetches is left to readers.
    pub(super) fn start_ahead(
        &self,
        frame: usize,
        end: Instant,
        group: impl FnOnce() -> Vec<usize>,
        work: impl FnOnce(&[usize], Arc<AtomicBool>) -> Result<(), String> + Send + 'static,
    ) -> FetchOutcome {
        let max = self.max - self.max / 5;
        self.wait_for(lock(&self.state.0), (frame, max), end, group, work).1
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
        (frame, max): (usize, usize),
        end: Instant,
        group: impl FnOnce() -> Vec<usize>,
        work: impl FnOnce(&[usize], Arc<AtomicBool>) -> Result<(), String> + Send + 'static,
    ) -> (MutexGuard<'s, FetchStates>, FetchOutcome) {
        loop {
            if state.has_ended {
                return (state, FetchOutcome::Ended);
            }
            if state.frames.contains_key(&frame) {
                break;
            }
            match state.failures.get(&frame) {
                Some((at, outcome)) if at.elapsed() < FAILURE_LASTS => {
                    let outcome = outcome.clone();
                    return (state, outcome);
                }
                _ => drop(state.failures.remove(&frame)),
            }
            if state.threads < max {
                let mut frames = group();
                frames.retain(|other| *other == frame || !state.frames.contains_key(other));
                if let Err(error) = self.start(&mut state, frames, work) {
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
        let id = state.frames.get(&frame).copied();
        let Some((id, fetch)) = id.and_then(|id| Some((id, state.fetches.get_mut(&id)?))) else {
            return (state, FetchOutcome::Ended);
        };
        fetch.waiting += 1;
        let outcome = Arc::clone(&fetch.outcome);
        loop {
            if state.has_ended {
                return (state, FetchOutcome::Ended);
            }
            match state.fetches.get_mut(&id) {
                None => return (state, outcome.get().cloned().unwrap_or(FetchOutcome::Done)),
                Some(fetch) if Instant::now() >= end => {
                    fetch.waiting -= 1;
                    if fetch.waiting == 0 {
                        // No caller waits for it: the thread ends when it notices, and the next caller begins anew.
                        fetch.interrupt.store(true, Ordering::Relaxed);
                        state.forget(id);
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
        frames: Vec<usize>,
        work: impl FnOnce(&[usize], Arc<AtomicBool>) -> Result<(), String> + Send + 'static,
    ) -> std::io::Result<()> {
        let interrupt = Arc::new(AtomicBool::new(false));
        let (id, shared, flag) = (state.next, Arc::clone(&self.state), Arc::clone(&interrupt));
        let (own, outcome) = (frames.clone(), Arc::new(OnceLock::new()));
        let ended = Arc::clone(&outcome);
        let run = move || {
            // A panic is a failure of this fetch only.
            let work = std::panic::AssertUnwindSafe(|| work(&own, flag));
            let result = std::panic::catch_unwind(work).unwrap_or_else(|_| Err("the fetch failed".to_owned()));
            let mut state = lock(&shared.0);
            state.threads -= 1;
            if state.forget(id) {
                let outcome = match (result, &own[..]) {
                    (Ok(()), _) => FetchOutcome::Done,
                    (Err(reason), [frame]) => {
                        let outcome = FetchOutcome::Failed(reason);
                        state.failures.insert(*frame, (Instant::now(), outcome.clone()));
                        outcome
                    }
                    (Err(_), _) => FetchOutcome::GroupFailed,
                };
                let _ = ended.set(outcome);
            }
            shared.1.notify_all();
        };
        Builder::new().name("fetch".to_owned()).spawn(run)?;
        state.next += 1;
        state.threads += 1;
        state.frames.extend(frames.iter().map(|frame| (*frame, id)));
        state.fetches.insert(id, RunningFetch { frames, outcome, waiting: 0, interrupt });
        Ok(())
    }
}

impl FetchStates {
    /// Forgets a fetch. Returns whether it was known.
    fn forget(&mut self, id: u64) -> bool {
        let Some(fetch) = self.fetches.remove(&id) else { return false };
        for frame in fetch.frames {
            self.frames.remove(&frame);
        }
        true
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
                let work = move |_: &[usize], _| {
                    count.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(100));
                    Ok(())
                };
                scope.spawn(|| {
                    assert_eq!(running.join_or_start(7, in_millis(5000), || vec![7], work), FetchOutcome::Done)
                });
            }
        });
        assert_eq!((count.load(Ordering::SeqCst), running.counts()), (1, (0, 0)));
    }

    #[test]
    fn a_failure_is_the_answer_for_a_moment_and_not_for_ever() {
        let running = RunningFetches::new(2);
        let well = |frame: usize| running.join_or_start(frame, in_millis(5000), || vec![frame], |_, _| Ok(()));
        let failed = running.join_or_start(1, in_millis(5000), || vec![1], |_, _| Err("away".to_owned()));
        assert_eq!(failed, FetchOutcome::Failed("away".into()));
        assert_eq!((well(1), well(2)), (failed, FetchOutcome::Done));
        thread::sleep(FAILURE_LASTS);
        assert_eq!(well(1), FetchOutcome::Done);
    }

    #[test]
    fn a_group_is_one_fetch_and_its_failure_no_answer_about_a_frame() {
        let (running, count) = (RunningFetches::new(4), Arc::new(AtomicUsize::new(0)));
        let group = |frame: usize, callers: u64, result: Result<(), String>| {
            let (count, state) = (Arc::clone(&count), Arc::clone(&running.state));
            let work = move |frames: &[usize], _| {
                count.fetch_add(frames.len(), Ordering::SeqCst);
                // Until all callers wait.
                while lock(&state.0).waiting < callers {
                    thread::sleep(Duration::from_millis(1));
                }
                result
            };
            running.join_or_start(frame, in_millis(60_000), || (frame..frame + 3).collect(), work)
        };
        thread::scope(|scope| {
            let first = scope.spawn(|| group(1, 3, Ok(())));
            while running.counts().1 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            // Frames of the fetch that runs.
            let others = [2, 3].map(|frame| scope.spawn(move || group(frame, 0, Ok(()))));
            assert!(others.into_iter().chain([first]).all(|thread| thread.join().unwrap() == FetchOutcome::Done));
        });
        assert_eq!(count.load(Ordering::SeqCst), 3);
        assert_eq!(group(10, 0, Err("away".to_owned())), FetchOutcome::GroupFailed);
        assert_eq!(running.join_or_start(10, in_millis(5000), || vec![10], |_, _| Ok(())), FetchOutcome::Done);
        assert!(lock(&running.state.0).frames.is_empty());
    }

    #[test]
    fn no_caller_waits_longer_than_the_time() {
        let running = RunningFetches::new(1);
        let hang = |_: &[usize], interrupt: Arc<AtomicBool>| {
            while !interrupt.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_millis(200));
            Ok(())
        };
        let well =
            |frame: usize, millis| running.join_or_start(frame, in_millis(millis), || vec![frame], |_, _| Ok(()));
        assert_eq!(running.join_or_start(1, in_millis(50), || vec![1], hang), FetchOutcome::Timeout);
        // The only thread still hangs, so the next fetch does not start in time, and another one does later.
        assert_eq!(well(2, 20), FetchOutcome::Timeout);
        assert_eq!(well(2, 5000), FetchOutcome::Done);
        running.end();
        assert_eq!(well(3, 5000), FetchOutcome::Ended);
    }
}
