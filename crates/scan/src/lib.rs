//! A directory tree, read in parallel into the tree model.
//!
//! [`scan()`] takes everything that `lstat` and the extended attributes tell. What regular files hold goes to a
//! [`ContentSink`](libcomposefs_content::ContentSink), which may only hash it ([`DigestOnly`](libcomposefs_content::DigestOnly)) or store it too, so that one read serves both.
//!
//! Every step starts from an open directory and follows no symlink, so whoever renames things during a scan can make it
//! fail but cannot make it read outside of the tree. Nothing is opened that was not a regular file or
//! a directory a moment before.
//!
//! How the work is cut: threads share one stack of jobs, a job being a directory to list or some names of one. Being a
//! stack it goes depth first, so little is pending at a time; a thread that finds others without work hands over half of
//! the names it has left. What a thread finds goes to the tree in batches, in any order: the finished tree is sorted. Small
//! contents are hashed in batches too.
#![forbid(unsafe_code)]

mod attributes;
mod collect_all;
mod directory;
mod entry;
mod error;
mod glob;
mod hardlinks;
mod options;
mod patterns;
mod pending;
mod queue;
mod read_file;
mod scan;
mod small_files;
mod stat;
mod worker;

pub use collect_all::CollectAll;
pub use error::{Error, Step};
pub use glob::compile_glob;
pub use options::{Mtime, Options, XattrChoice};
pub use patterns::{InvalidPattern, Patterns};
pub use scan::scan;
