//! Sizes and offsets of the image, and the names of the attributes for overlayfs.

/// The block size in bytes.
pub(super) const BLOCK: u64 = 4096;
/// The binary logarithm of the block size.
pub(super) const BLOCK_BITS: u32 = 12;
/// Inodes start at multiples of this; an inode's nid is its offset divided by it.
pub(super) const NODE_ALIGN: u64 = 32;
/// Offset of the EROFS superblock.
pub(super) const SUPERBLOCK_OFFSET: u64 = 1024;
/// Offset of the first inode.
pub(super) const INODES_OFFSET: u64 = 1152;
/// Length of a compact inode.
pub(super) const COMPACT_LEN: u64 = 32;
/// Length of an extended inode.
pub(super) const EXTENDED_LEN: u64 = 64;
/// Length of the header before an inode's attributes.
pub(super) const XATTR_HEADER_LEN: u64 = 12;
/// The number of shared attributes to which one inode may refer.
pub(super) const MAX_SHARED: usize = 128;
/// The largest chunk of an external file has 2^43 bytes (31 + the block's bits).
pub(super) const MAX_CHUNK_BITS: u32 = 31 + BLOCK_BITS;
/// The number of chunks that a file may have.
pub(super) const MAX_CHUNKS: u64 = 1024;
/// A chunk pointer that leads to no block of the image.
pub(super) const NULL_CHUNK: [u8; 4] = [0xff; 4];
/// A last piece of a directory or file longer than this gets a block of its own.
pub(super) const MAX_TAIL: u64 = BLOCK / 2;

/// The prefix of overlayfs's own attributes.
pub(super) const OVERLAY_PREFIX: &[u8] = b"trusted.overlay.";
/// Marks a directory of which overlayfs hides the entries of lower layers.
pub(super) const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// Marks a file whose content is in a lower layer; its value has the digest.
pub(super) const METACOPY: &[u8] = b"trusted.overlay.metacopy";
/// The path of the object below the data layer.
pub(super) const REDIRECT: &[u8] = b"trusted.overlay.redirect";
/// Mark a regular file that overlayfs shows as a whiteout.
pub(super) const WHITEOUT: [&str; 2] = ["trusted.overlay.overlay.whiteout", "user.overlay.whiteout"];
/// Mark a directory that holds such files.
pub(super) const WHITEOUTS: [&str; 2] = ["trusted.overlay.overlay.whiteouts", "user.overlay.whiteouts"];
/// Mark a directory that holds such files, with the value `x`.
pub(super) const OPAQUE_PARENT: [&str; 2] = ["trusted.overlay.overlay.opaque", "user.overlay.opaque"];

/// `value` up to the next multiple of `to`, a power of two.
pub(super) const fn round_up(value: u64, to: u64) -> u64 {
    (value + to - 1) & !(to - 1)
}
