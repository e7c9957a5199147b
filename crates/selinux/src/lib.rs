//! SELinux labels of files by the policy that their tree contains: `file_contexts` and the files beside it.
//!
//! [`PolicyFiles::find`] reads the files through a closure, [`Contexts::compile`] makes rules of their text, and
//! [`Labels`] finds the label of each path. The rules are those of cfsctl, which bootable images follow
//! (`docs/digests.md`, "Labels"); libselinux sorts the rules of a file differently.
//!
//! The crate opens no file. A policy is untrusted: the size of its files, the memory of its patterns and the steps of
//! each match are bounded.
#![forbid(unsafe_code)]

mod aliases;
mod contexts;
mod error;
mod labels;
mod line;
mod patterns;
mod policy_files;

pub use contexts::Contexts;
pub use error::{FILE_MAX, LabelError, LineRule};
pub use labels::Labels;
pub use policy_files::{PolicyFile, PolicyFiles};
