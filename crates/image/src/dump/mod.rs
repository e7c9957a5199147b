//! The dump text: one line for each node of a tree (`docs/format/dump.md`, composefs-dump(5)).
//!
//! [`Parser`] makes a [`Tree`](crate::tree::Tree) of lines; [`emit`] is the reverse. Neither does IO.
//!
//! ```
//! use libcomposefs_image::dump::{self, Parser};
//! use libcomposefs_image::erofs::{Image, Versions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = "/ 0 40755 2 0 0 0 0.0 - - -\n/motd 6 100644 1 0 0 0 0.0 - hello\\n -\n";
//! let mut parser = Parser::new(dump::Options::default());
//! for line in text.lines() {
//!     parser.push_line(line.as_bytes())?;
//! }
//! let tree = parser.finish()?.tree;
//!
//! let mut image = Vec::new();
//! Image::plan(&tree, Versions::default())?.write(&mut image)?;
//! let mut again = Vec::new();
//! dump::emit(&tree, &mut again)?;
//! assert!(again.starts_with(b"/ 0 40755 "));
//! # Ok(())
//! # }
//! ```

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
