//! Names the part of an image at a position.

use std::fmt;

use super::byte_map::{Owner, OwnerMap};
use super::inodes::MetInodes;
use crate::display::shown;
use crate::erofs::constants::{INODES_OFFSET, SUPERBLOCK_OFFSET};
use crate::erofs::read::ImageReader;

/// A part of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Region {
    /// The composefs header at offset 0.
    Header,
    /// The EROFS superblock at offset 1024.
    Superblock,
    /// The record of an inode; its path.
    Record(Vec<u8>),
    /// The attributes after the record of the inode with this path.
    Xattrs(Vec<u8>),
    /// The tail data after the attributes of the inode with this path.
    Tail(Vec<u8>),
    /// The blocks of an inode; its path.
    Blocks(Vec<u8>),
    /// The area of shared attributes.
    SharedXattrs,
    /// Nothing: padding, or what nothing refers to.
    Nothing,
    /// Behind the end of the shorter one of two images.
    End,
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Region::Header => f.write_str("the header"),
            Region::Superblock => f.write_str("the superblock"),
            Region::Record(path) => write!(f, "the inode of {}", shown(path)),
            Region::Xattrs(path) => write!(f, "the xattrs of {}", shown(path)),
            Region::Tail(path) => write!(f, "the tail of {}", shown(path)),
            Region::Blocks(path) => write!(f, "the blocks of {}", shown(path)),
            Region::SharedXattrs => f.write_str("the shared xattrs"),
            Region::Nothing => f.write_str("padding"),
            Region::End => f.write_str("the end of one of them"),
        }
    }
}

/// Returns the region at an offset.
pub(super) fn at(offset: u64, reader: &ImageReader<'_>, inodes: &MetInodes<'_>, claims: &OwnerMap) -> Region {
    match claims.owner(offset) {
        _ if offset < SUPERBLOCK_OFFSET => Region::Header,
        _ if offset < INODES_OFFSET => Region::Superblock,
        None | Some(Owner::Head) => Region::Nothing,
        Some(Owner::Shared) => Region::SharedXattrs,
        Some(Owner::Blocks(index)) => Region::Blocks(inodes.path(index)),
        Some(Owner::Inode(index)) => {
            let path = inodes.path(index);
            match reader.inode(inodes.get(index).nid.into()) {
                Ok(inode) if offset >= inode.tail_offset() => Region::Tail(path),
                Ok(inode) if offset >= inode.xattr_offset() => Region::Xattrs(path),
                _ => Region::Record(path),
            }
        }
    }
}
