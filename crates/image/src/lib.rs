//! The composefs image: digests and Merkle trees, the tree model, the dump text, the EROFS writer and
//! reader.
//!
//! Bytes in, bytes out: nothing here opens a file, asks for the time or contains unsafe code. The formats are
//! specified in `docs/format/`; the code follows those pages.
#![forbid(unsafe_code)]

pub mod diff;
pub mod digest;
mod display;
pub mod dump;
pub mod erofs;
mod ordered_parallel;
pub mod policy;
pub mod threads;
pub mod tree;
pub mod verity;

pub use digest::{Algorithm, Digest};
pub use ordered_parallel::in_order;
