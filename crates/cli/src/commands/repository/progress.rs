//! Progress display of objects that are transferred.

use indicatif::ProgressBar;

use crate::output;

/// Displays the number of objects and bytes so far, if standard error is a terminal.
pub(crate) struct ObjectProgress {
    bar: ProgressBar,
}

impl ObjectProgress {
    pub(crate) fn start() -> Self {
        // Uses the bar's position for objects and its length for bytes: neither total is known before the end.
        Self { bar: output::bar("{spinner} {pos} objects, {total_bytes}, {elapsed}", 0) }
    }

    /// Counts one object and its bytes.
    pub(crate) fn done(&self, bytes: u64) {
        self.bar.inc(1);
        self.bar.inc_length(bytes);
    }
}

impl Drop for ObjectProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
