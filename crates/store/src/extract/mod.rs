//! Extracting a tree: writing the files of an image and its objects to a file system.
//!
//! No file gets a name in the target before it is complete: contents are compared with their digests in unnamed
//! files, and everything else is made in a private directory and moved to its place (`staging`). Another process may
//! be able to write to the target meanwhile. So its directories are accessed by descriptors, never by paths
//! (`dir_stack`), no symlink is followed, and a new file is never accessed by a name under which another process
//! could have put a different one.
//!
//! 1. Inodes with several names are made (`hardlinks`), so that their names can be links.
//! 2. One thread walks down the tree and makes the directories, others make the files in them (`populate`).
//! 3. The directories get owner, xattrs, mode and time, the innermost first (`dir_metadata`).

mod context;
mod copy;
mod dir_metadata;
mod dir_stack;
mod driver;
mod error;
mod hardlinks;
mod metadata;
mod options;
mod populate;
mod report;
mod selection;
mod special;
mod staging;
mod target;
mod walk;

pub use driver::extract;
pub use error::{ExtractError, FileError};
pub use options::{Options, Owners};
pub use report::{ExtractReport, LeftOut, PathFailure};
pub use selection::Selection;
