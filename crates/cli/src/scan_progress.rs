//! Progress of a scan, on a terminal only.

use indicatif::ProgressBar;
use libcomposefs_content::Progress;

use crate::output;

/// Shows entries and bytes as they are read; nothing where standard error is no terminal.
pub(crate) struct ScanProgress {
    bar: ProgressBar,
}

impl ScanProgress {
    pub(crate) fn start() -> Self {
        // Entries are the bar's position, bytes its length: neither total is known before the end.
        Self { bar: output::bar("{spinner} {pos} entries, {total_bytes} read, {elapsed}", 0) }
    }
}

impl Progress for ScanProgress {
    fn entries_seen(&self, count: u64) {
        self.bar.inc(count);
    }

    fn file_read(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }
}

impl Drop for ScanProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
