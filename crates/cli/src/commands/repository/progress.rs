//! Objects on their way, drawn on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Counts objects and their bytes; nothing where standard error is no terminal.
pub(crate) struct Objects {
    bar: ProgressBar,
}

impl Objects {
    pub(crate) fn start() -> Self {
        // Objects are the bar's position, bytes its length: neither total is known before the end.
        let style = ProgressStyle::with_template("{spinner} {pos} objects, {total_bytes}, {elapsed}")
            .expect("the template is constant");
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar }
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
