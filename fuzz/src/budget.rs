//! What a reader of outside bytes may use: memory and CPU time, each as a constant and an amount for each input byte.
//!
//! Memory is the most that is allocated at one time, counted by the allocator. CPU time is that of the whole process,
//! so a reader with threads is counted too, and a busy machine is not. A reader that uses too much time is measured
//! twice more, and the least counts: a quadratic reader is slow each time, a disturbed one is not.

use std::sync::Mutex;

use peak_alloc::PeakAlloc;
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The number of measurements before a reader that uses too much time fails.
const ATTEMPTS: usize = 3;

/// An amount that grows with the input: `base + per_byte * input bytes`.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// The amount allowed for any input, including the empty one.
    pub base: u64,
    /// The amount allowed for each byte of the input.
    pub per_byte: u64,
}

impl Linear {
    fn of(self, len: usize) -> u64 {
        self.base.saturating_add(self.per_byte.saturating_mul(len as u64))
    }
}

/// The limits of one reader. `CONTRIBUTING.md` says how to choose the numbers.
#[derive(Debug)]
pub struct Budget {
    name: &'static str,
    memory: Linear,
    nanoseconds: Linear,
    highest: Mutex<Highest>,
}

/// The highest use that was seen, in percent of what is allowed.
#[derive(Debug, Default)]
struct Highest {
    memory: u64,
    time: u64,
}

impl Budget {
    /// A budget. The memory is in bytes.
    #[must_use]
    pub const fn new(name: &'static str, memory: Linear, nanoseconds: Linear) -> Self {
        Self { name, memory, nanoseconds, highest: Mutex::new(Highest { memory: 0, time: 0 }) }
    }

    /// Runs a reader on an input of `len` bytes. `read` is called again if it takes too much time.
    ///
    /// # Panics
    ///
    /// If the reader uses more memory or more time than it may.
    pub fn check<T>(&self, len: usize, mut read: impl FnMut() -> T) -> T {
        let (memory_limit, time_limit) = (self.memory.of(len), self.nanoseconds.of(len));
        let mut least = u64::MAX;
        for attempt in 1.. {
            let before = ALLOCATOR.current_usage();
            ALLOCATOR.reset_peak_usage();
            let start = cpu_time();
            let value = read();
            let time = cpu_time().saturating_sub(start);
            let memory = ALLOCATOR.peak_usage().saturating_sub(before) as u64;
            assert!(
                memory <= memory_limit,
                "{}: {memory} bytes of memory for {len} bytes of input, the budget is {memory_limit} ({:?})",
                self.name,
                self.memory
            );
            least = least.min(time);
            if least <= time_limit {
                self.note(len, (memory, memory_limit), (least, time_limit));
                return value;
            }
            assert!(
                attempt < ATTEMPTS,
                "{}: {least} ns of CPU time for {len} bytes of input, the budget is {time_limit} ({:?})",
                self.name,
                self.nanoseconds
            );
        }
        unreachable!("the last attempt returns or panics")
    }

    /// Prints a new highest use, but no small change of it.
    fn note(&self, len: usize, memory: (u64, u64), time: (u64, u64)) {
        let percent = |(used, limit): (u64, u64)| used.saturating_mul(100) / limit.max(1);
        let (memory_used, time_used) = (percent(memory), percent(time));
        let Ok(mut highest) = self.highest.lock() else { return };
        let is_more = |used, before| used > before + before / 4;
        if is_more(memory_used, highest.memory) || is_more(time_used, highest.time) {
            *highest = Highest { memory: highest.memory.max(memory_used), time: highest.time.max(time_used) };
            eprintln!(
                "budget: {}: at most {} % of the memory and {} % of the time; now {} bytes and {} ns \
                 for {len} bytes of input",
                self.name, highest.memory, highest.time, memory.0, time.0
            );
        }
    }
}

/// The CPU time of the process in nanoseconds.
fn cpu_time() -> u64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
