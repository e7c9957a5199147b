//! Options of an extraction.

use std::num::NonZeroUsize;

use libcomposefs_content::thread_count;
use rustix::process::geteuid;

/// Selects the owners of the extracted files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Owners {
    /// The owners in the tree, if the process is root.
    #[default]
    IfRoot,
    /// The user who extracts them.
    Mine,
}

/// Options of an extraction. By default the target must be empty, and files without a digest are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Selects the owners of the files.
    pub owners: Owners,
    /// Extracts contents without a digest in the image, unchecked.
    pub unverified: bool,
    /// Extracts into a directory that is not empty: directories are merged, everything else is replaced.
    pub merge: bool,
    /// Number of threads; one per CPU by default.
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
