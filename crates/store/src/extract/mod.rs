//! A tree on a file system again: what an image and its objects say, as files.
//!
//! Nothing gets a name in the target before it is whole: contents are compared with their digests in files without a
//! name, everything else is made in a directory of our own and moved to its place ([`staging`]). The target may be
//! somebody else's to write to while this runs. So its directories are gone through by descriptors, never by paths
//! ([`dir_stack`]), no symlink is followed, and what is made is never named again where another could have put something
//! in its place.
//!
//! 1. Inodes of several names are made ([`hardlinks`]), for their names to be links.
//! 2. One thread goes down the tree and makes the directories, others what is in them ([`populate`]).
//! 3. The directories get owner, attributes, mode and time, the innermost first ([`dir_metadata`]).

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
