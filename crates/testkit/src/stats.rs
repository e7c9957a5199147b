//! Figures that a run is to show: how much was compared, how often something was lost.

use std::io::Write as _;

/// Prints a line past the test harness, which keeps what passed tests print to itself.
pub fn show(line: &str) {
    // In one piece, as other tests print as well.
    let line = format!("{line}\n");
    std::io::stdout().write_all(line.as_bytes()).expect("standard output takes a line");
}
