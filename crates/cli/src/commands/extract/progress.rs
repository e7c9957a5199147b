//! Progress display of an extraction.

use indicatif::ProgressBar;
use libcomposefs_content::Progress;

use crate::output;

/// Displays the number of bytes and entries, if standard error is a terminal.
pub(super) struct ExtractProgress {
    bytes: ProgressBar,
    entries: ProgressBar,
}

impl ExtractProgress {
    pub(super) fn new() -> Self {
        let bytes = output::bar("{bar:30} {bytes} of {total_bytes}, {msg} entries, {elapsed}", 0);
        Self { bytes, entries: ProgressBar::hidden() }
    }
}

impl Progress for ExtractProgress {
    fn begin(&self, entries: u64, bytes: u64) {
        self.entries.set_length(entries);
        self.bytes.set_length(bytes);
    }

    fn entries(&self, count: u64) {
        self.entries.inc(count);
        let (done, all) = (self.entries.position(), self.entries.length().unwrap_or_default());
        if done.is_multiple_of(512) && !self.bytes.is_hidden() {
            self.bytes.set_message(format!("{done} of {all}"));
        }
    }

    fn bytes(&self, count: u64) {
        self.bytes.inc(count);
    }
}

impl Drop for ExtractProgress {
    fn drop(&mut self) {
        self.bytes.finish_and_clear();
    }
}
