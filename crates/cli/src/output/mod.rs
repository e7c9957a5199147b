//! Everything that the program prints, on both standard streams.
//!
//! Nothing else in this crate may write to them (`cargo xtask tidy` checks that), so that each rule is kept in one place:
//!
//! * Output that cannot be written ends the program with status 1 and a message, never with a panic. A pipe whose reader has
//!   gone is told by the status alone, as the reader has seen enough.
//! * Standard error is for people. What cannot be written there is dropped and changes nothing.
//! * No character that a terminal obeys, and none that makes text look like other text, gets into a message, into a report for
//!   people, or into JSON.
//!
//! | what | how |
//! |---|---|
//! | a message | [`tell!`], a line on standard error |
//! | a line of a report | [`out!`], a line on standard output |
//! | a report as JSON | [`json`] |
//! | many lines of names, as `ls` has them | [`text`]: bytes as they are, except on a terminal |
//! | contents, images, dumps | [`data`]: bytes as they are |
//! | the program's own words in several lines, such as a usage | [`block`], [`tell_block`], [`remark`] |

/// Prints a line of a report. What is no graphic character is escaped, newlines too.
macro_rules! out {
    ($($arg:tt)*) => { $crate::output::line(format_args!($($arg)*)) };
}

/// Prints a message, one line. What is no graphic character is escaped, newlines too.
macro_rules! tell {
    ($($arg:tt)*) => { $crate::output::tell_line(format_args!($($arg)*)) };
}

mod command_line;
mod escape;
mod progress;
mod stderr;
mod stdout;
mod writers;

pub(crate) use command_line::parse;
pub(crate) use escape::{escaped, is_obeyed};
pub(crate) use progress::bar;
pub(crate) use stderr::{tell_block, tell_line};
pub(crate) use stdout::{finish, flush, is_terminal, is_unwritable, line, needs_no_message};
pub(crate) use writers::{Json, block, data, json, json_line, remark, text};
