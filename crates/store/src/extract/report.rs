//! The result of an extraction.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::FileError;

/// A path that was not extracted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PathFailure {
    /// Path in the image.
    pub path: Vec<u8>,
    /// Error that prevented the extraction.
    pub error: Arc<FileError>,
}

/// A kind of metadata or file that was left out, as the process or the file system does not permit it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LeftOut {
    /// Number of inodes it was left out of.
    pub count: u64,
    /// Path of one of the inodes.
    pub example: Vec<u8>,
    /// Kernel error for that inode; empty if there was no system call.
    pub reason: String,
}

impl LeftOut {
    pub(super) fn note(&mut self, path: impl FnOnce() -> Vec<u8>, reason: impl FnOnce() -> String) {
        if self.count == 0 {
            (self.example, self.reason) = (path(), reason());
        }
        self.count += 1;
    }
}

/// Result of an extraction that was not stopped early.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ExtractReport {
    /// Number of directories made or merged, including the root.
    pub directories: u64,
    /// Number of regular files, each counted once however many names it has.
    pub files: u64,
    /// Number of symlinks, devices, FIFOs and sockets.
    pub others: u64,
    /// Number of further names of inodes with several names.
    pub links: u64,
    /// Total length of the contents in bytes.
    pub bytes: u64,
    /// Bytes of contents that share their extents with an object.
    pub cloned_bytes: u64,
    /// Number of files extracted unchecked, as the image has no digest of them.
    pub unverified: u64,
    /// Paths that were not extracted, sorted.
    pub failures: Vec<PathFailure>,
    /// Owners that were not set. Files with another owner get neither the set-user-ID nor the set-group-ID bit.
    pub owners: LeftOut,
    /// Devices that were not made.
    pub devices: LeftOut,
    /// Xattrs that were not set, by name.
    pub xattrs: BTreeMap<Vec<u8>, LeftOut>,
}

impl ExtractReport {
    /// Returns true if all selected paths were extracted.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failures.is_empty()
    }
}
