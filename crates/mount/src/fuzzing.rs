//! Functions for the fuzz targets, with the feature `fuzzing`. Not part of the interface.

use crate::mounts::{MountEntry, entries};

/// The composefs mounts that a text of the form of `/proc/self/mountinfo` names.
#[must_use]
pub fn mounts_in(mountinfo: &[u8]) -> Vec<MountEntry> {
    entries(mountinfo)
}
