//! Format versions as data: what a writer does differently from one to the next.

use super::constants::MAX_CHUNK_BITS;
use super::error::WriteError;

/// The rules of one format version for the writer.
#[derive(Debug, PartialEq, Eq)]
pub struct WriterProfile {
    /// The number in the composefs header.
    pub format_version: u32,
    /// Set if a header flag records that an inode has a POSIX ACL.
    pub tells_acls: bool,
    /// The root is opaque, and has a whiteout for every directory that a store can have.
    pub shields_objects: bool,
    /// Input whiteouts become files that overlayfs shows as whiteouts again; otherwise they stay devices.
    pub converts_whiteouts: bool,
    /// A directory that holds input whiteouts is marked opaque (`opaque=x`), so that the kernel looks for them.
    pub marks_whiteout_parents_opaque: bool,
    /// The order of inodes.
    pub order: InodeOrder,
    /// `i_ino` is the inode's nid, and not its place in the order.
    pub numbers_by_nid: bool,
    /// Set if inodes are compact where their fields fit, with the time in the superblock. Otherwise all are extended.
    pub has_compact_inodes: bool,
    /// Times are kept to the nanosecond; otherwise to the second.
    pub keeps_nanoseconds: bool,
    /// The logarithm of the size of chunks, if it is not the least that takes a whole file.
    pub chunk_bits: Option<u32>,
    /// The way to keep tails from crossing the end of a block.
    pub tails: Tails,
    /// The attributes that lead to objects come before all others of an inode, not among them by name.
    pub object_xattrs_first: bool,
    /// `lustre.` is written as the prefix that it is.
    pub has_lustre_prefix: bool,
    /// The order of the shared attributes.
    pub shared_order: SharedOrder,
    /// References to shared attributes count from the block where these begin, and not from the start of the file.
    pub refers_from_shared_area: bool,
}

/// In which order an image has its inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InodeOrder {
    /// One directory after the other, level by level.
    BreadthFirst,
    /// Each directory followed by all that it holds.
    DepthFirst,
}

/// In which order the shared attributes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedOrder {
    /// By name, then length, then value, all of them descending.
    Descending,
    /// By number of the prefix, rest of the name, then value, ascending.
    AscendingByPrefix,
}

/// The treatment of a tail that would cross the end of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tails {
    /// The rules of the C writer, one for symlinks and one for all others.
    Fitted,
    /// The inode moves until its last byte, or that of its attributes, is in the block that contains the first byte
    /// after its tail. Chunks stay in place.
    Shifted,
}

/// Versions 0 and 1, indexed by number: the versions that a caller can choose.
pub const PROFILES: [WriterProfile; 2] =
    [CURRENT, WriterProfile { format_version: 1, marks_whiteout_parents_opaque: true, ..CURRENT }];

const CURRENT: WriterProfile = WriterProfile {
    format_version: 0,
    tells_acls: true,
    shields_objects: true,
    converts_whiteouts: true,
    marks_whiteout_parents_opaque: false,
    order: InodeOrder::BreadthFirst,
    numbers_by_nid: false,
    has_compact_inodes: true,
    keeps_nanoseconds: true,
    chunk_bits: None,
    tails: Tails::Fitted,
    object_xattrs_first: false,
    has_lustre_prefix: false,
    shared_order: SharedOrder::Descending,
    refers_from_shared_area: true,
};

/// Version 2, an older layout that only composefs-rs writes. Never chosen by default: it serves to identify the digests
/// of such images.
pub const LEGACY: WriterProfile = WriterProfile {
    format_version: 2,
    tells_acls: false,
    shields_objects: false,
    converts_whiteouts: false,
    marks_whiteout_parents_opaque: false,
    order: InodeOrder::DepthFirst,
    numbers_by_nid: true,
    has_compact_inodes: false,
    keeps_nanoseconds: false,
    chunk_bits: Some(MAX_CHUNK_BITS),
    tails: Tails::Shifted,
    object_xattrs_first: true,
    has_lustre_prefix: true,
    shared_order: SharedOrder::AscendingByPrefix,
    refers_from_shared_area: false,
};

/// The versions a caller allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The version to be used unless the tree needs a later one.
    pub min: u32,
    /// The latest version allowed; raised to `min` where it is smaller.
    pub max: u32,
}

impl Default for Versions {
    fn default() -> Self {
        Self { min: 0, max: 1 }
    }
}

impl Versions {
    /// Returns exactly this version.
    #[must_use]
    pub const fn exactly(version: u32) -> Self {
        Self { min: version, max: version }
    }

    /// The first allowed version that can express the tree: one with whiteouts wants its directories marked. Where
    /// none of those allowed can, the first.
    pub fn choose(self, has_whiteout: bool) -> Result<&'static WriterProfile, WriteError> {
        let max = self.max.max(self.min);
        let allowed = PROFILES.get(self.min as usize..=max as usize).filter(|allowed| !allowed.is_empty());
        let allowed = allowed.ok_or(WriteError::Version { min: self.min, max })?;
        let fits = |profile: &&WriterProfile| !has_whiteout || profile.marks_whiteout_parents_opaque;
        Ok(allowed.iter().find(fits).unwrap_or(&allowed[0]))
    }
}
