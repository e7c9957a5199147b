//! A writer of ext4 file systems whose files may have fs-verity.
//!
//! Everything is written in one pass and in ascending order: the same calls make the same bytes. `mke2fs -d` would need
//! a copy of all files with their trees first, takes names in the order of the host's directories, and sets neither
//! owners nor fs-verity without a second pass of `debugfs`, whose scripts cannot have every name.
//! `Documentation/filesystems/ext4` of the kernel has the format, `fs/ext4/verity.c` the place of the trees.

mod allocator;
mod bytes;
mod checksum;
mod directory;
mod extents;
mod file;
mod geometry;
mod inode;
mod superblock;
mod writer;
mod xattrs;

pub(crate) use directory::EntryType;
pub(crate) use file::verity_blocks;
pub(crate) use geometry::{BLOCK, BLOCKS_MAX};
pub(crate) use inode::InodeTime;
pub(crate) use superblock::Ext4Identity;
pub(crate) use writer::{Directory, Ext4Writer, InodeAttributes, minimal_len};
