//! Being told how far a scan is.

/// Told of a scan's progress, from all of its threads. Does nothing unless implemented.
pub trait Progress: Sync {
    /// So many more entries were found.
    fn entries_seen(&self, count: u64) {
        let _ = count;
    }

    /// One more regular file with so many bytes was read.
    fn file_read(&self, bytes: u64) {
        let _ = bytes;
    }
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
