//! Progress display of bytes that are transferred.

use indicatif::ProgressBar;
use libcomposefs_content::Progress;

use crate::output;

/// Displays bytes, rate and time left, if standard error is a terminal.
pub(in crate::commands) struct TransferDisplay {
    bar: ProgressBar,
}

impl TransferDisplay {
    /// Begins without a known total.
    pub(in crate::commands) fn start() -> Self {
        Self { bar: output::bar("{spinner} {bytes}, {bytes_per_sec}, {elapsed}", 0) }
    }
}

impl Progress for TransferDisplay {
    fn begin(&self, _: u64, bytes: u64) {
        output::begin_bar(&self.bar, "{spinner} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left", bytes);
    }

    fn bytes(&self, bytes: u64) {
        self.bar.inc(bytes);
    }
}

impl Drop for TransferDisplay {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
