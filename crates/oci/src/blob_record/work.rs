//! A limit on the time that an imitated encoder takes.

use std::io;

/// Number of positions that are compared whatever the size of the blob.
const WORK_MIN: u64 = 1 << 28;
/// Number of positions that are compared for each byte of the blob. The highest level of gzip needs about a thousand.
const WORK_PER_BYTE: u64 = 4096;

/// Counts the work for one blob. Without it a small blob could be made to take hours.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkLimit {
    left: u64,
}

impl WorkLimit {
    /// Begins a blob of this size.
    pub(super) fn new(blob_size: u64) -> Self {
        Self { left: blob_size.saturating_mul(WORK_PER_BYTE).saturating_add(WORK_MIN) }
    }

    /// Takes note of work.
    pub(super) fn spend(&mut self, work: u64) -> io::Result<()> {
        self.left = self.left.checked_sub(work).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "imitating the encoder takes too long for a blob of this size")
        })?;
        Ok(())
    }
}
