//! Progress display of a scan.

use indicatif::ProgressBar;
use libcomposefs_content::Progress;

use crate::output;

/// Displays the number of entries and bytes read so far, if standard error is a terminal.
pub(crate) struct ScanProgress {
    bar: ProgressBar,
}

impl ScanProgress {
    pub(crate) fn start() -> Self {
        // Uses the bar's position for entries and its length for bytes: neither total is known before the end.
        Self { bar: output::bar("{spinner} {pos} entries, {total_bytes} read, {elapsed}", 0) }
    }
}

impl Progress for ScanProgress {
    fn entries(&self, count: u64) {
        self.bar.inc(count);
    }

    fn bytes(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }
}

impl Drop for ScanProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
