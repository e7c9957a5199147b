//! Limits on the size of a commit's tree.

/// The largest number of entries; no file system of today has more.
pub(crate) const MAX_ENTRIES: u64 = 1 << 24;
/// The number of bytes that a tree may always have ...
pub(crate) const ALWAYS: u64 = 16 << 20;
/// ... and the number added for each byte of its objects. A directory that occurs 17 times still fits.
pub(crate) const TIMES: u64 = 32;
