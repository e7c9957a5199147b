//! Code shared by the commands that inspect an image: `ls`, `stat`, `cat`, `find` and `du`.

pub(crate) mod content;
pub(crate) mod failures;
pub(crate) mod image;
pub(crate) mod inode_info;
pub(crate) mod listing;
pub(crate) mod mode;
pub(crate) mod names;
pub(crate) mod output;
pub(crate) mod path;
pub(crate) mod size;
