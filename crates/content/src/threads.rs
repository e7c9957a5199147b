//! The number of threads that an operation uses.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use libcomposefs_image::threads::THREADS_MAX;
use libcomposefs_sys::limits::open_files_max;

/// File descriptors reserved for each thread. A thread has a source and a temporary file open, their directories, and
/// the file it compares with; as many again are left for the rest of the process.
const DESCRIPTORS: usize = 16;

/// Returns the number of threads to use: `asked`, or one per CPU by default, but at most [`THREADS_MAX`], and no more
/// than the limit of open files allows.
#[must_use]
pub fn thread_count(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    let wanted = asked.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    bounded(wanted, open_files_max())
}

fn bounded(wanted: NonZeroUsize, open_files: usize) -> NonZeroUsize {
    let room = NonZeroUsize::new(open_files / DESCRIPTORS).unwrap_or(NonZeroUsize::MIN);
    wanted.min(THREADS_MAX).min(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_bounded_by_descriptors_and_a_maximum() {
        let bounded = |wanted, open_files| bounded(NonZeroUsize::new(wanted).unwrap(), open_files).get();
        assert_eq!(bounded(3, 1024), 3);
        assert_eq!(bounded(512, 1024), 64);
        assert_eq!(bounded(usize::MAX, usize::MAX), THREADS_MAX.get());
        assert_eq!([0, 15, 16, 31, 32].map(|open_files| bounded(8, open_files)), [1, 1, 1, 1, 2]);
    }
}
