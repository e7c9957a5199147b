//! One thing that a check finds.

use std::fmt;

use crate::display::shown;
use crate::erofs::read::{Defect, ReadError};

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A remark; the image works.
    Note,
    /// No writer of composefs does it, yet the image can be mounted and read.
    Warning,
    /// It is broken: it is refused, by the kernel or by the reader, or a mount shows something wrong.
    Error,
}

impl Severity {
    /// All of them, the worst first.
    pub const ALL: [Severity; 3] = [Severity::Error, Severity::Warning, Severity::Note];

    /// `error`, `warning` or `note`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A finding with its position in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The position in the file.
    pub offset: u64,
    /// The number of the inode that the finding is about, if it is about one.
    pub nid: Option<u64>,
    /// A path of that inode, where it is known; of a very long one only the end, after `...`.
    pub path: Option<Vec<u8>>,
    /// The rule that is broken.
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}, ", shown(path))?;
        }
        if let Some(nid) = self.nid {
            write!(f, "inode {nid}, ")?;
        }
        write!(f, "offset {}: {}", self.offset, self.problem)
    }
}

impl From<ReadError> for Finding {
    fn from(ReadError { offset, nid, path, defect }: ReadError) -> Self {
        Self { offset, nid, path, problem: Problem::Defect(defect) }
    }
}

/// The rules that a check knows (`docs/format/image.md`, "Checking an image").
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A defect for which the reader refuses the image.
    #[error(transparent)]
    Defect(#[from] Defect),
    /// More bytes are used twice than a check follows.
    #[error("more bytes are used several times than can be followed: the rest of the image was not looked at")]
    TooMuchShared,
    /// A checksum of the superblock that is said to be there and is wrong.
    #[error("the superblock's checksum is {found:#010x}, and {expected:#010x} is right: no kernel mounts it")]
    Checksum {
        /// The value in the image.
        found: u32,
        /// The value that was expected.
        expected: u32,
    },
    /// The header denies ACLs that are there.
    #[error("there is an ACL, but the header says there are no ACLs: a mount would not obey it")]
    AclDenied,
    /// The header speaks of ACLs that are not there.
    #[error("the header says that there are ACLs, but no inode has one")]
    AclClaimed,
    /// Unused bytes that should be zero.
    #[error("unused bytes of {0} are not zero")]
    Unused(&'static str),
    /// The file has another length than its superblock says.
    #[error("the file has {len} bytes, and the superblock says {blocks} blocks of 4096")]
    Length {
        /// The length of the file in bytes.
        len: u64,
        /// The number of blocks according to the superblock.
        blocks: u32,
    },
    /// Another number of inodes than the superblock says.
    #[error("the superblock says {found} inodes, there are {expected}")]
    InodeCount {
        /// The number in the superblock.
        found: u64,
        /// The number that was counted.
        expected: u64,
    },
    /// Another time in the superblock than that of the oldest inode.
    #[error("the build time is {found}, the earliest time of an inode {expected}")]
    BuildTime {
        /// The value in the image.
        found: String,
        /// The value that was expected.
        expected: String,
    },
    /// Inodes that are numbered otherwise than they lie.
    #[error("i_ino of {count} inodes is not their place in the list of inodes; here {found}, expected {expected}")]
    Number {
        /// The number of inodes affected.
        count: u64,
        /// The value in the first of them.
        found: u32,
        /// The expected value in the first of them.
        expected: u64,
    },
    /// A link count that is not the number of names.
    #[error("the link count is {found}, and the inode has {names} names")]
    Links {
        /// The link count in the inode.
        found: u32,
        /// The number of names that lead to the inode.
        names: u32,
    },
    /// A directory's link count that is not two and the number of its directories.
    #[error("the link count is {found}, expected {expected}: two, and one for each directory in it")]
    DirectoryLinks {
        /// The value in the inode.
        found: u32,
        /// The value that was expected.
        expected: u64,
    },
    /// The root lacks some of what hides the object directories.
    #[error("the root has no {first} to hide an object directory, and {count} such names are missing in all")]
    StubsMissing {
        /// The first that is missing.
        first: String,
        /// The number of directories affected.
        count: u32,
    },
    /// The root is not opaque.
    #[error("the root lacks trusted.overlay.opaque: the object directories may show in a mount")]
    NotOpaque,
    /// A whiteout that is no stub.
    #[error("a character device 0:0 that hides no object directory: a mount does not show it")]
    NoStub,
    /// A name filter with bits cleared for no attribute.
    #[error("the name filter is {found:#010x}, and {expected:#010x} would do")]
    Filter {
        /// The value in the inode.
        found: u32,
        /// The value that was expected.
        expected: u32,
    },
    /// An attribute that the inode has twice.
    #[error("the xattr {0:?} is there twice: a mount shows the first")]
    XattrTwice(String),
    /// Bytes that nothing refers to.
    #[error("{len} bytes belong to nothing, and {nonzero} of them are not zero")]
    Unclaimed {
        /// The length of the gap.
        len: u64,
        /// The number of its bytes that are not zero.
        nonzero: u64,
    },
    /// An object that is not called by its digest.
    #[error("the object is {payload:?}, and that of the digest would be {digest:?}")]
    OtherObject {
        /// The path of the object.
        payload: String,
        /// The object path of the digest.
        digest: String,
    },
    /// A file without an object.
    #[error("the content is an object, and no trusted.overlay.redirect says which: a mount cannot read it")]
    NoObject,
    /// Directories that hold whiteouts.
    #[error(
        "this directory holds whiteouts and is not opaque in the image, even if it was opaque in the source: the \
         format has one attribute for both, so files that lower layers have in this directory show. \
         Directories like this: {count}"
    )]
    NotOpaqueDirectories {
        /// The number of names affected.
        count: u64,
    },
    /// A file without a digest.
    #[error("trusted.overlay.metacopy has no digest: nothing vouches for the content")]
    NoDigest,
}

impl Problem {
    /// Returns the severity of the problem.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Problem::Defect(_) | Problem::TooMuchShared | Problem::Checksum { .. } | Problem::AclDenied => {
                Severity::Error
            }
            Problem::AclClaimed | Problem::NoDigest | Problem::Filter { .. } | Problem::NotOpaqueDirectories { .. } => {
                Severity::Note
            }
            _ => Severity::Warning,
        }
    }
}
