//! Reporting the progress of an operation to its caller.

/// Receives the progress of an operation, from any of its threads. The methods do nothing unless implemented.
///
/// A function that takes a number of bytes is a `Progress` too:
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use libcomposefs_content::Progress;
///
/// let read = AtomicU64::new(0);
/// let progress: &dyn Progress = &|bytes| { read.fetch_add(bytes, Ordering::Relaxed); };
/// progress.entries(1);
/// progress.bytes(4096);
/// assert_eq!(read.into_inner(), 4096);
/// ```
pub trait Progress: Sync {
    /// Reports how many entries and bytes there will be. Not called by operations that only know at the end.
    fn begin(&self, entries: u64, bytes: u64) {
        let _ = (entries, bytes);
    }

    /// Reports that `count` more entries were found, or are done.
    fn entries(&self, count: u64) {
        let _ = count;
    }

    /// Reports that `count` more bytes of contents are done.
    fn bytes(&self, count: u64) {
        let _ = count;
    }
}

/// A [`Progress`] that ignores all calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}

impl<F: Fn(u64) + Sync> Progress for F {
    fn bytes(&self, count: u64) {
        self(count);
    }
}
