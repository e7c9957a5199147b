//! `libcomposefs.so.1`: the interface of the C library, for programs that are linked to it.
//!
//! ```text
//!   C program --- abi: pointers, error numbers, no panic --- node: the tree in the caller's hands, safe code
//!                                                              |  to_tree, from_tree
//!                                                            Tree (libcomposefs-image) --- scan, Image, Reader, mount
//! ```
//!
//! All unsafe code is in [`abi`], which checks what can be checked and hands references on. What the functions mean is
//! in the headers below `include/`; where the C library does otherwise, `docs/compatibility.md` says so.

mod abi;
mod build;
mod content;
mod errno;
mod from_tree;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod load;
mod mount;
mod node;
mod to_tree;
mod write;
