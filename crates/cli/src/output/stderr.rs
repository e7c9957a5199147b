//! Messages to standard error. That they cannot be written changes nothing.

use std::fmt::Arguments;
use std::io::{self, Write};

use super::escape::escaped;
use super::stdout;

/// Prints a message, one line: see [`tell!`].
pub(crate) fn tell_line(message: Arguments<'_>) {
    write(format!("{}\n", escaped(&message.to_string())));
}

/// Prints text of several lines, all of which are the program's own words.
pub(crate) fn tell_block(text: &str) {
    let lines: String = text.lines().map(|line| escaped(line) + "\n").collect();
    write(lines);
}

/// In one piece, so that lines of several processes are not mixed; and behind what was printed before.
fn write(text: String) {
    let _ = stdout::flush();
    if cfg!(test) {
        // Tests keep what is printed by the macro to themselves.
        eprint!("{text}");
        return;
    }
    let _ = io::stderr().write_all(text.as_bytes());
}
