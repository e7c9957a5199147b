//! Messages to standard error. Errors of writing them are ignored.

use std::fmt::Arguments;
use std::io::{self, Write};

use super::escape::escaped;
use super::stdout;

/// Prints a message of one line; see [`tell!`].
pub(crate) fn tell_line(message: Arguments<'_>) {
    write(format!("{}\n", escaped(&message.to_string())));
}

/// Prints the program's own text of several lines.
pub(crate) fn tell_block(text: &str) {
    let lines: String = text.lines().map(|line| escaped(line) + "\n").collect();
    write(lines);
}

/// Writes text in one call, so that lines of several processes are not mixed, and after the output printed before it.
fn write(text: String) {
    let _ = stdout::flush();
    if cfg!(test) {
        // The test harness captures only what is printed by the macro.
        eprint!("{text}");
        return;
    }
    let _ = io::stderr().write_all(text.as_bytes());
}
