//! Totals over the attributes of all inodes of an image.

use std::collections::HashSet;

use crate::digest::Algorithm;

/// Totals over the attributes of all inodes.
#[derive(Debug, Default)]
pub(super) struct XattrTotals {
    /// The references to shared attributes that were met.
    pub(super) shared: HashSet<u32>,
    /// The algorithm of the first digest, which all digests must have.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) has_acl: bool,
    pub(super) root_is_opaque: bool,
    /// The number of directories with the marker for directories that hold whiteouts, and the first of them.
    pub(super) not_opaque: u64,
    pub(super) first_not_opaque: Option<u32>,
}
