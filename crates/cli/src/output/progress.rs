//! Progress bars, drawn on standard error if it is a terminal.

use std::thread::{Builder, sleep};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Interval between two redraws of a bar.
const TICK: Duration = Duration::from_millis(100);

/// Creates a bar and starts drawing it. Nothing is drawn without a terminal, and errors of drawing are ignored.
pub(crate) fn bar(template: &'static str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is constant");
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr()).with_style(style);
    if !bar.is_hidden() {
        keep_moving(&bar);
    }
    bar
}

/// Returns a bar that is drawn below the others of `bars`: only there, as a bar that was drawn alone before would stay.
pub(crate) fn bar_among(bars: &MultiProgress, template: &'static str, prefix: String, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is constant");
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden()).with_style(style);
    let bar = bars.add(bar.with_prefix(prefix));
    if !bar.is_hidden() {
        keep_moving(&bar);
    }
    bar
}

/// Gives a bar another text, and a length that is known by now.
pub(crate) fn begin_bar(bar: &ProgressBar, template: &'static str, length: u64) {
    bar.set_style(ProgressStyle::with_template(template).expect("the template is constant"));
    bar.set_length(length);
}

/// Redraws a bar until it is finished or dropped. The ticker of indicatif panics if no thread can be started; in that
/// case this bar is only redrawn when work is done.
fn keep_moving(bar: &ProgressBar) {
    let bar = bar.downgrade();
    let tick = move || {
        while let Some(bar) = bar.upgrade().filter(|bar| !bar.is_finished()) {
            bar.tick();
            drop(bar);
            sleep(TICK);
        }
    };
    let _ = Builder::new().spawn(tick);
}
