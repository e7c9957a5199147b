//! The objects of a trace are fetched ahead, in the order of the trace.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use super::LazyObjects;
use super::fetches::FetchOutcome;

/// Most fetches ahead that run at once.
const THREADS_MAX: usize = 32;
/// Compressed bytes of a group of frames, beside its first frame. A reader that needs a frame waits for its group.
const BYTES_MAX: u64 = 256 << 10;
/// Number of groups in succession that fail: the remote is away, and readers find that out for themselves.
const FAILURES_MAX: u32 = 4;

impl LazyObjects {
    /// Fetches the objects of the trace of the image, as far as they are not here, and returns when all are here, or
    /// the remote fails. The trace is a hint of the remote: nothing is fetched that a reader would not get.
    pub fn prefetch(&self) {
        let groups = self.traced_groups();
        let (next, failures) = (AtomicUsize::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..groups.len().min(THREADS_MAX) {
                let work = || {
                    while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if failures.load(Ordering::Relaxed) >= FAILURES_MAX {
                            return;
                        }
                        match self.fetch_ahead(group) {
                            FetchOutcome::Done => failures.store(0, Ordering::Relaxed),
                            FetchOutcome::Ended => return,
                            _ => drop(failures.fetch_add(1, Ordering::Relaxed)),
                        }
                    }
                };
                // Without a thread, readers fetch what they need.
                let _ = std::thread::Builder::new().name("prefetch".to_owned()).spawn_scoped(scope, work);
            }
        });
    }

    /// Returns the frames that give what is missing of the trace, in groups of successive frames of a pack.
    fn traced_groups(&self) -> Vec<Vec<usize>> {
        let shared = &self.0;
        let numbers = shared.index.trace();
        let traced: HashSet<u32> = numbers.iter().copied().collect();
        let mut given: HashSet<u32> = HashSet::new();
        let (mut groups, mut bytes): (Vec<Vec<usize>>, u64) = (Vec::new(), 0);
        for number in numbers {
            let is_missing = |(digest, size)| !shared.repository.has_object(&digest, size).unwrap_or(true);
            if given.contains(&number) || !shared.index.entry(number).is_some_and(is_missing) {
                continue;
            }
            let chosen = shared.frames.choose_traced(&shared.index, &shared.repository, number, &traced);
            let Some((position, frame)) = chosen.and_then(|found| Some((found, shared.index.frames.get(found)?)))
            else {
                continue;
            };
            given.extend(&frame.objects);
            let pack = |position: &usize| shared.index.frames.get(*position).map(|frame| frame.pack);
            match groups.last_mut() {
                Some(group)
                    if group.last().is_some_and(|last| last + 1 == position && pack(last) == Some(frame.pack))
                        && bytes + frame.length <= BYTES_MAX =>
                {
                    group.push(position);
                    bytes += frame.length;
                }
                _ => {
                    groups.push(vec![position]);
                    bytes = 0;
                }
            }
        }
        groups
    }

    /// Waits until the frames of a group are here.
    fn fetch_ahead(&self, group: &[usize]) -> FetchOutcome {
        let shared = &self.0;
        let bytes: u64 = group.iter().filter_map(|frame| Some(shared.index.frames.get(*frame)?.length)).sum();
        let end = Instant::now() + shared.options.longest_of(bytes);
        let mut last = None;
        loop {
            // Others of them may come with what a reader needs.
            let missing: Vec<usize> = group.iter().copied().filter(|frame| self.gives_missing(*frame)).collect();
            let Some(first) = missing.first().copied() else { return FetchOutcome::Done };
            if last == Some(first) {
                return FetchOutcome::GroupFailed;
            }
            last = Some(first);
            let lazy = self.clone();
            let work = move |frames: &[usize], interrupt| lazy.fetch_group(frames, interrupt);
            match shared.running.start_ahead(first, end, || missing, work) {
                FetchOutcome::Done => {}
                failed => return failed,
            }
        }
    }

    fn gives_missing(&self, frame: usize) -> bool {
        let shared = &self.0;
        let numbers = shared.index.frames.get(frame).map_or(&[][..], |frame| &frame.objects);
        let of_image = numbers.iter().filter(|number| (1..=shared.index.objects.len()).contains(&(**number as usize)));
        of_image
            .filter_map(|number| shared.index.entry(*number))
            .any(|(digest, size)| !shared.repository.has_object(&digest, size).unwrap_or(true))
    }
}
