//! Coder 4: DEFLATE streams in the object and the bases are replaced by their tokens (`docs/format/frame.md`, section
//! 6).

mod coder;
mod find;
mod form;
mod rebuilder;

pub(crate) use coder::{TOKENS_MAX, encode, read_bases_form, read_form};
pub(crate) use rebuilder::Rebuilder;
