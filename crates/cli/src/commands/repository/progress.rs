//! Objects on their way, drawn on a terminal.

use indicatif::ProgressBar;

use crate::output;

/// Counts objects and their bytes; nothing where standard error is no terminal.
pub(crate) struct Objects {
    bar: ProgressBar,
}

impl Objects {
    pub(crate) fn start() -> Self {
        // Objects are the bar's position, bytes its length: neither total is known before the end.
        Self { bar: output::bar("{spinner} {pos} objects, {total_bytes}, {elapsed}", 0) }
    }

    /// One more.
    pub(crate) fn done(&self, bytes: u64) {
        self.bar.inc(1);
        self.bar.inc_length(bytes);
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
