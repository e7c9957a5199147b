//! Limits the number of machines of this process that run at the same time.
//!
//! Each machine emulates one CPU and has its share of the host's memory, and the smallest host this has to suit has two
//! CPUs. Suites, power cuts and engines all wait for a slot here, so that none of them has to know of the others.

use std::sync::{Condvar, Mutex, PoisonError};

/// A number of slots for machines.
struct Slots {
    free: Mutex<usize>,
    given_back: Condvar,
}

static SLOTS: Slots = Slots::new(2);

/// A slot; dropping it lets another machine start.
pub(crate) struct Slot<'a>(&'a Slots);

/// Waits for a free slot.
pub(crate) fn take() -> Slot<'static> {
    SLOTS.take()
}

impl Slots {
    const fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), given_back: Condvar::new() }
    }

    fn take(&self) -> Slot<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.given_back.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_than_the_slots_run_at_once() {
        let slots = Slots::new(2);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let _slot = slots.take();
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(most.into_inner(), 2);
        assert_eq!(*slots.free.lock().unwrap(), 2);
    }
}
