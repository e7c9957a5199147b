//! Writes everything that the program prints, to both standard streams.
//!
//! Nothing else in this crate may write to them (`cargo xtask tidy` checks that), so that each rule is implemented in
//! one place:
//!
//! * Output that cannot be written ends the program with status 1 and a message, never with a panic. If the reader of a
//!   pipe has closed it, there is no message: it has read as much as it wanted.
//! * Standard error is for people. Errors of writing to it are ignored.
//! * Characters that control a terminal, or make text look like other text, are escaped in messages, in reports for
//!   people, and in JSON.
//!
//! | output | written with |
//! |---|---|
//! | a message | `tell!`, a line on standard error |
//! | a line of a report | `out!`, a line on standard output |
//! | a report as JSON | [`json`] |
//! | many lines of names, as in `ls` | [`text`]: bytes unchanged, except on a terminal |
//! | contents, images, dumps | [`data`]: bytes unchanged, only from files listed in `xtask/src/tidy/fences.rs` |
//! | the program's own text of several lines, such as a usage | [`block`], [`tell_block`], [`remark`] |

/// Prints one line of a report. Non-graphic characters are escaped, also newlines.
macro_rules! out {
    ($($arg:tt)*) => { $crate::output::line(format_args!($($arg)*)) };
}

/// Prints a message of one line. Non-graphic characters are escaped, also newlines.
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
pub(crate) use progress::{bar, bar_among, begin_bar};
pub(crate) use stderr::{tell_block, tell_line};
pub(crate) use stdout::{finish, flush, is_terminal, is_unwritable, line, needs_no_message};
pub(crate) use writers::{Json, block, data, json, json_line, remark, text};
