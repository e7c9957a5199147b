//! Makes numbered pieces on several threads and passes them to one function in the order of their numbers.

use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::threads::with_helpers;

/// Makes the pieces 0, 1, 2 and so on in turns on up to `threads` threads, and joins them in that order.
///
/// `make` fills a buffer that belongs to its thread, or returns `false` if there is no such piece and so none after it.
/// `join` is called with one piece at a time, and returns `false` if no further piece need be begun; the pieces already
/// begun are still joined. At most as many pieces exist at a time as there are threads.
///
/// # Panics
///
/// If `make` or `join` panics.
pub fn in_order<B: Default>(
    threads: NonZeroUsize,
    make: impl Fn(u64, &mut B) -> bool + Sync,
    join: impl FnMut(&mut B) -> bool + Send,
) {
    let line =
        OrderedLine { state: Mutex::new(State { taken: 0, joined: 0, ended: false, join }), advanced: Condvar::new() };
    let work = || line.work(&make);
    with_helpers(threads, work, work);
}

/// The value of the number of joined pieces when no further piece is joined: `join` returned `false`, or a thread has
/// panicked and its piece will never arrive.
const ENDED: u64 = u64::MAX;

struct State<J> {
    /// The number of pieces begun.
    taken: u64,
    /// The number of pieces joined.
    joined: u64,
    ended: bool,
    join: J,
}

struct OrderedLine<J> {
    state: Mutex<State<J>>,
    advanced: Condvar,
}

impl<J> OrderedLine<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work<B: Default>(&self, make: &(impl Fn(u64, &mut B) -> bool + Sync))
    where
        J: FnMut(&mut B) -> bool,
    {
        let _guard = EndOnPanic(self);
        let mut buffer = B::default();
        while let Some(piece) = self.take() {
            if !make(piece, &mut buffer) {
                self.lock().ended = true;
                return;
            }
            let mut state = self.lock();
            while state.joined != piece && state.joined != ENDED {
                state = self.advanced.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.joined == ENDED {
                return;
            }
            if (state.join)(&mut buffer) {
                state.joined += 1;
            } else {
                // Another thread may wait with the next piece already: nothing is joined after this one.
                (state.ended, state.joined) = (true, ENDED);
            }
            drop(state);
            self.advanced.notify_all();
        }
    }

    /// The next piece, if there may be one.
    fn take(&self) -> Option<u64> {
        let mut state = self.lock();
        if state.ended {
            return None;
        }
        state.taken += 1;
        Some(state.taken - 1)
    }
}

/// Lets the other threads end when one panics: they would wait for its piece for ever.
struct EndOnPanic<'a, J>(&'a OrderedLine<J>);

impl<J> Drop for EndOnPanic<'_, J> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.0.lock();
            (state.ended, state.joined) = (true, ENDED);
            drop(state);
            self.0.advanced.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u64 = 200;

    fn run(threads: usize, join: impl FnMut(&mut u64) -> bool + Send) {
        let make = |piece, buffer: &mut u64| {
            *buffer = piece;
            piece < COUNT
        };
        in_order(NonZeroUsize::new(threads).unwrap(), make, join);
    }

    /// The error of a join is the last word: the piece that another thread has ready is not joined after it.
    #[test]
    fn nothing_is_joined_after_the_end() {
        for last in [0, 1, 5] {
            let both = std::sync::Barrier::new(2);
            let make = |number, _: &mut Vec<u8>| {
                // The thread with the last piece and the one with the next come together.
                if number == last || number == last + 1 {
                    both.wait();
                }
                number < 100
            };
            let mut joined = 0;
            in_order(NonZeroUsize::new(2).unwrap(), make, |_| {
                joined += 1;
                joined <= last
            });
            assert_eq!(joined, last + 1);
        }
    }

    #[test]
    fn every_piece_comes_once_and_in_order() {
        for threads in [1, 2, 7] {
            let mut seen = Vec::new();
            run(threads, |piece| {
                seen.push(*piece);
                true
            });
            assert_eq!(seen, (0..COUNT).collect::<Vec<_>>());
        }
    }

    #[test]
    fn after_the_end_only_what_was_begun_comes() {
        for threads in [1, 2, 7] {
            let mut seen = 0;
            run(threads, |piece| {
                seen += 1;
                *piece < 9
            });
            assert!((10..10 + threads).contains(&seen), "{seen}");
        }
    }

    #[test]
    fn a_panic_ends_all_threads() {
        let panicked =
            std::panic::catch_unwind(|| run(4, |piece| if *piece == 20 { panic!("on purpose") } else { true }));
        assert!(panicked.is_err());
    }
}
