//! The dump text: one line for each node of a tree (`docs/format/dump.md`, composefs-dump(5)).
//!
//! [`Parser`] takes lines and gives a [`Tree`](crate::tree::Tree); [`emit`] does the reverse. Neither does IO.

mod emit;
mod error;
mod escape;
mod hardlinks;
mod line_map;
mod parse;
mod value;

pub use emit::emit;
pub(crate) use emit::{emit_with, emit_xattr};
pub use error::{DumpError, DumpField};
pub use escape::{Also, escape};
pub use line_map::LineMap;
pub use parse::{Options, Parsed, Parser};

#[cfg(test)]
mod tests;
