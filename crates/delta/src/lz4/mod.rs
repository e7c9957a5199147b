//! Coder 5: the blocks of an LZ4 file in the object and the base are unpacked (`docs/format/frame.md`, section 7).

mod base;
mod blocks;
mod chains;
mod coder;
mod rebuilder;
mod sequences;

pub(crate) use base::Lz4Base;
pub(crate) use coder::{LZ4_MAX, SEGMENT_SIZE, encode};
pub(crate) use rebuilder::BlockRebuilder;
