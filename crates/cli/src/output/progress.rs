//! Progress, drawn on standard error where that is a terminal.

use std::thread::{Builder, sleep};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a bar is drawn again.
const TICK: Duration = Duration::from_millis(100);

/// A bar, drawn from now on. What cannot be drawn changes nothing; without a terminal nothing is.
pub(crate) fn bar(template: &'static str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is constant");
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr()).with_style(style);
    if !bar.is_hidden() {
        keep_moving(&bar);
    }
    bar
}

/// Draws a bar again and again until it is finished or dropped. The bar's own ticker panics where no thread can be started;
/// here the bar then moves only when work is done.
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
