//! Errors of reading an image, with their position.

use std::fmt;

use crate::digest::Algorithm;
use crate::display::shown;
use crate::erofs::header::HeaderError;
use crate::erofs::superblock;
use crate::tree::{MAX_INLINE, MAX_NAME, MAX_PATH, MAX_XATTR_NAME, TreeError};

/// An image that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadError {
    /// The position in the file of what is wrong.
    pub offset: u64,
    /// The inode it belongs to.
    pub nid: Option<u64>,
    /// The path of that inode, where it is known: only who walks the tree from its root knows paths.
    pub path: Option<Vec<u8>>,
    /// The rule that the image breaks.
    pub defect: Defect,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}, ", shown(path))?;
        }
        if let Some(nid) = self.nid {
            write!(f, "inode {nid}, ")?;
        }
        write!(f, "offset {}: {}", self.offset, self.defect)
    }
}

impl ReadError {
    /// The same error with the path of its inode, unless it has one.
    #[must_use]
    pub fn at_path(self, path: &[u8]) -> Self {
        let path = self.path.unwrap_or_else(|| path.to_owned());
        Self { path: Some(path), ..self }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.defect)
    }
}

/// The rule of the format that an image breaks (`docs/format/image.md`, "Reading an image").
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// It has no composefs header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A format version that did not exist when this was written.
    #[error("format version {0} is unknown, 0, 1 and 2 can be read")]
    FormatVersion(u32),
    /// The file ends before the superblock does.
    #[error("the file ends after {len} bytes, before its EROFS superblock does")]
    NoSuperblock {
        /// The length of the file in bytes.
        len: u64,
    },
    /// The file has no EROFS superblock.
    #[error("the EROFS magic number is {found:#010x}, expected {expected:#010x}", expected = superblock::MAGIC)]
    Magic {
        /// The magic number in the file.
        found: u32,
    },
    /// The block size is not 4096.
    #[error("blocks of 2^{bits} bytes, expected 2^12")]
    BlockSize {
        /// The binary logarithm of the block size in the file.
        bits: u32,
    },
    /// The superblock asks for features that composefs images do without.
    #[error("the EROFS features {features:#x} are needed to read it, which no composefs image uses")]
    Features {
        /// The feature bits that are unknown.
        features: u32,
    },
    /// The file is shorter than its superblock says.
    #[error("the file has {len} bytes, but {blocks} blocks of 4096: it was cut off")]
    CutOff {
        /// Length of the file system in blocks.
        blocks: u32,
        /// The length of the file in bytes.
        len: u64,
    },
    /// An area begins after the end of the image.
    #[error("the area begins at block {block}, behind the end of the image")]
    AreaOutside {
        /// The first block of the area.
        block: u32,
    },
    /// An inode lies outside the file.
    #[error("inode {nid} lies outside the image")]
    InodeOutside {
        /// The number of the inode.
        nid: u64,
    },
    /// An inode in a form or layout that composefs images do without.
    #[error("inode format {0:#06x} is compressed or unknown")]
    InodeFormat(u16),
    /// Type bits that mean nothing.
    #[error("mode {0:o} has no valid file type")]
    Mode(u16),
    /// The root is no directory.
    #[error("the root is not a directory")]
    RootNotDirectory,
    /// Attributes reach beyond the end of the file.
    #[error("{len} bytes of xattrs reach beyond the end of the image")]
    XattrsOutside {
        /// The length of the attributes in bytes.
        len: u64,
    },
    /// More references to shared attributes than there is room.
    #[error("{count} references to shared xattrs, but room for {room}")]
    SharedCount {
        /// The number of shared attributes that the inode declares.
        count: u8,
        /// The number of shared attributes that fit.
        room: u64,
    },
    /// A reference to a shared attribute outside the file.
    #[error("the reference {reference} to a shared xattr leads outside the image")]
    SharedOutside {
        /// The reference: units of four bytes.
        reference: u32,
    },
    /// An attribute is longer than the area that contains it.
    #[error("an xattr of {len} bytes where {room} are left")]
    XattrLength {
        /// The length of the attribute.
        len: u64,
        /// The number of bytes left in the area.
        room: u64,
    },
    /// An unknown number of a name prefix.
    #[error("xattr name prefix {0} is unknown")]
    XattrPrefix(u8),
    /// A name that stands whole although there is a number for its prefix: the kernel would not find it.
    #[error("the xattr {0:?} is written whole although its prefix has a number: no kernel would find it")]
    XattrPrefixUnused(String),
    /// A name that is empty, too long or holds a NUL.
    #[error("an xattr name of {0} bytes: 1 to {MAX_XATTR_NAME} are allowed, none of them NUL")]
    XattrName(usize),
    /// The inode's name filter hides an attribute.
    #[error("the name filter hides the xattr {0:?}: a mount would not show it")]
    XattrHidden(String),
    /// Blocks outside the file.
    #[error("the content of {size} bytes from block {block} on lies outside the image")]
    BlocksOutside {
        /// The first block of the content.
        block: u32,
        /// Length of the content.
        size: u64,
    },
    /// The tail of an inode reaches beyond the end of the file.
    #[error("{len} bytes of content behind the inode reach beyond the end of the image")]
    TailOutside {
        /// The length of the tail.
        len: u64,
    },
    /// The tail of an inode crosses the boundary of a block.
    #[error("{len} bytes of content behind the inode cross the boundary of a block")]
    TailCrosses {
        /// The length of the tail.
        len: u64,
    },
    /// Content in chunks on something that is no regular file.
    #[error("only regular files may be made of chunks")]
    ChunksOfOther,
    /// A chunk format other than a size.
    #[error("chunk format {0:#06x} is unknown")]
    ChunkFormat(u16),
    /// More chunks than room for their pointers, or than can be.
    #[error("{0} chunks: at most 1024 are possible")]
    ChunkCount(u64),
    /// A chunk that lies in the image.
    #[error("chunk {0} leads to a block of the image: the content of such files is an object")]
    ChunkInImage(u64),
    /// A directory without room for its dots.
    #[error("a directory of {0} bytes has no room for . and ..")]
    DirectoryTooShort(u64),
    /// The first name offset of a chunk of dirents, from which their number follows, is invalid.
    #[error("the first name of {len} bytes of dirents starts at {offset}, which is no multiple of 12 from 12 on")]
    FirstName {
        /// The offset of the first name according to the dirent.
        offset: u16,
        /// Length of the chunk.
        len: u64,
    },
    /// Names overlap or go beyond their chunk.
    #[error("a name from {start} to {end} in {len} bytes of dirents")]
    NameOutside {
        /// The start of the name.
        start: u64,
        /// The start of the next name.
        end: u64,
        /// Length of the chunk.
        len: u64,
    },
    /// A name of a wrong length.
    #[error("a name of {0} bytes: 1 to {MAX_NAME} are allowed")]
    NameLength(u64),
    /// A name with a slash or a NUL.
    #[error("the name {0:?} holds a slash or a NUL")]
    NameByte(String),
    /// Names out of order.
    #[error("the name {name:?} stands behind {before:?}: names are in byte order")]
    NameOrder {
        /// The name that is not allowed.
        name: String,
        /// The one before it.
        before: String,
    },
    /// A name that the directory has twice.
    #[error("the name {0:?} is there twice")]
    NameTwice(String),
    /// A directory without one of its dots.
    #[error("the directory lacks its entry {0:?}")]
    DotMissing(&'static str),
    /// A dot that leads elsewhere.
    #[error("the entry {name:?} leads to inode {found}, expected {expected}")]
    DotElsewhere {
        /// The name: `.` or `..`.
        name: &'static str,
        /// The inode that the name leads to.
        found: u64,
        /// The inode that the name should lead to.
        expected: u64,
    },
    /// The type in a dirent is not that of its inode.
    #[error("the dirent says type {found}, the inode has type {expected}")]
    FileType {
        /// The file type in the dirent.
        found: u8,
        /// The file type of the inode.
        expected: u8,
    },
    /// A directory has two names: a loop, or a hard link to a directory.
    #[error("the directory has a second name: directories cannot be hard-linked")]
    DirectoryTwice,
    /// Two things are in the same place.
    #[error("it shares bytes with what begins at offset {other}{}", of_inode(*.other_nid))]
    Overlap {
        /// The offset of the other structure.
        other: u64,
        /// The inode that the other one belongs to.
        other_nid: Option<u64>,
    },
    /// A symlink's target is empty or too long.
    #[error("symlink target of {0} bytes: 1 to {MAX_PATH} are allowed")]
    SymlinkTarget(u64),
    /// A symlink's target holds a NUL.
    #[error("the symlink's target holds a NUL")]
    SymlinkNul,
    /// Content in the image that is too long.
    #[error("content of {0} bytes in the image: at most {MAX_INLINE} are possible")]
    ContentTooLong(u64),
    /// `trusted.overlay.redirect` or `metacopy` on something else than an external file.
    #[error("only files whose content is an object may have {0}")]
    NotExternal(&'static str),
    /// A `trusted.overlay.redirect` that is no path of an object.
    #[error("trusted.overlay.redirect of {0} bytes: expected / and a path of at most {MAX_PATH} bytes without NUL")]
    Redirect(usize),
    /// A `trusted.overlay.metacopy` that is no digest.
    #[error("trusted.overlay.metacopy of {0} bytes is neither empty nor a record of a SHA-256 or SHA-512 digest")]
    Metacopy(usize),
    /// An external file without `trusted.overlay.metacopy`.
    #[error("a file made of chunks without trusted.overlay.metacopy: a mount would show zeros")]
    NoMetacopy,
    /// Digests of two algorithms.
    #[error("a {found} digest in an image of {expected} digests")]
    Algorithm {
        /// The algorithm of the digest.
        found: Algorithm,
        /// That of the digests before.
        expected: Algorithm,
    },
    /// A stub with a link count.
    #[error("a character device 0:0 with {0} links: those that hide the object directories have one")]
    StubLinks(u32),
    /// A stub with a second name.
    #[error("a second name for the character device 0:0 of another: those that hide the object directories have one")]
    StubTwice,
    /// Something a tree does not take.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

fn of_inode(nid: Option<u64>) -> String {
    nid.map_or_else(String::new, |nid| format!(" (inode {nid})"))
}

impl Defect {
    /// At a position of the file that is in no inode.
    pub(in crate::erofs) fn at(self, offset: u64) -> ReadError {
        ReadError { offset, nid: None, path: None, defect: self }
    }

    /// At a position of an inode.
    pub(in crate::erofs) fn of(self, nid: u64, offset: u64) -> ReadError {
        ReadError { offset, nid: Some(nid), path: None, defect: self }
    }
}
