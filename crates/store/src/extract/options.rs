//! How a tree is extracted.

use std::num::NonZeroUsize;

use libcomposefs_content::thread_count;
use rustix::process::geteuid;

/// Whether files get the owners that the tree says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owners {
    /// If the process is root.
    #[default]
    IfRoot,
    /// They belong to whoever extracts them.
    Mine,
}

/// How a tree is extracted. The default is into an empty directory, and nothing that has no digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whose the files are.
    pub owners: Owners,
    /// Take contents that the image has no digest of, unchecked.
    pub unverified: bool,
    /// Extract into a directory that is not empty: directories are merged, everything else is replaced.
    pub merge: bool,
    /// How many threads; one for each CPU if it is not said.
    pub threads: Option<NonZeroUsize>,
}

impl Options {
    pub(super) fn thread_count(&self) -> NonZeroUsize {
        thread_count(self.threads)
    }

    pub(super) fn gives_owners(&self) -> bool {
        self.owners == Owners::IfRoot && geteuid().is_root()
    }
}
