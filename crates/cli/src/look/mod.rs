//! Looking into an image: what `ls`, `stat`, `cat`, `find` and `du` have in common.

pub(crate) mod complaints;
pub(crate) mod content;
pub(crate) mod facts;
pub(crate) mod lines;
pub(crate) mod listing;
pub(crate) mod mode;
pub(crate) mod names;
pub(crate) mod place;
pub(crate) mod size;
