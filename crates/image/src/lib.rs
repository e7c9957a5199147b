//! The composefs image: digests and Merkle trees, the tree model, the dump text, the EROFS writer and
//! reader.
//!
//! The crate opens no file, reads no clock and contains no unsafe code. The formats are specified in the pages of
//! [`format`](mod@format), which the code follows.
#![forbid(unsafe_code)]

pub mod bootable;
pub mod derive;
pub mod diff;
pub mod digest;
pub mod display;
pub mod dump;
pub mod erofs;
pub mod format;
pub mod kernel_words;
mod ordered_parallel;
pub mod policy;
pub mod threads;
pub mod tree;
pub mod verity;

pub use digest::{Algorithm, Digest};
pub use ordered_parallel::in_order;
