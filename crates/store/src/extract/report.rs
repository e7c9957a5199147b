//! What came of an extraction.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::FileError;

/// A path that is not there.
#[derive(Clone, Debug)]
pub struct PathFailure {
    /// The path in the image.
    pub path: Vec<u8>,
    /// Why.
    pub error: Arc<FileError>,
}

/// Something that was left out of what is there, as the caller or the file system may not have it.
#[derive(Clone, Debug, Default)]
pub struct LeftOut {
    /// Of how many inodes.
    pub count: u64,
    /// The path of one.
    pub example: Vec<u8>,
    /// What the kernel said of that one, if it was asked.
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

/// What came of an extraction that went to its end.
#[derive(Clone, Debug, Default)]
pub struct ExtractReport {
    /// Directories made or merged, the root among them.
    pub directories: u64,
    /// Regular files, each counted once however many names it has.
    pub files: u64,
    /// Symlinks, devices, FIFOs and sockets.
    pub others: u64,
    /// Further names.
    pub links: u64,
    /// Bytes of contents.
    pub bytes: u64,
    /// How many of them share their extents with an object.
    pub cloned_bytes: u64,
    /// How many files were taken unchecked, as the image has no digest of them.
    pub unverified: u64,
    /// What is not there, in the order of paths.
    pub failures: Vec<PathFailure>,
    /// Owners that were not given. What is owned by another has no set-user-ID and no set-group-ID bit either.
    pub owners: LeftOut,
    /// Devices that were not made.
    pub devices: LeftOut,
    /// Attributes that were not set, by name.
    pub xattrs: BTreeMap<Vec<u8>, LeftOut>,
}

impl ExtractReport {
    /// Whether all paths are there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failures.is_empty()
    }
}
