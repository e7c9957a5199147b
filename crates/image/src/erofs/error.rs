//! Reasons why a tree cannot become an image.

use crate::tree::InodeId;

/// A tree, or a wish, that no image can express.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A format version that does not exist.
    #[error("Invalid argument: format versions {min} to {max} were asked for, 0 and 1 exist")]
    Version {
        /// The first one asked for.
        min: u32,
        /// The highest supported version.
        max: u32,
    },
    /// An external file is larger than its chunk pointers can tell.
    #[error("File too large: {size} bytes, at most 2^53 are possible")]
    FileTooLarge {
        /// The regular file that is too large.
        inode: InodeId,
        /// The size of the file in bytes.
        size: u64,
    },
    /// An overlay marker that the reference implementation fails to replace, so that no image of the tree exists.
    #[error(
        "Numerical result out of range: a whiteout needs {name} empty here, but the xattr has a value and stands \
         beside others"
    )]
    MarkerShrinks {
        /// The whiteout or its directory.
        inode: InodeId,
        /// The attribute, as the image would name it.
        name: &'static str,
    },
    /// A symlink target that version 2 cannot store: its writer does not move a tail to a block of its own.
    #[error("File too large: images of version 2 have no place for a symlink's target of {len} bytes here")]
    TargetTooLong {
        /// The symlink with the long target.
        inode: InodeId,
        /// The length of its target.
        len: u64,
    },
    /// The root's attributes are so large that its number does not fit the superblock.
    #[error("Numerical result out of range: the root's nid {nid} does not fit 16 bits")]
    RootNid {
        /// The number that does not fit.
        nid: u64,
    },
    /// The metadata alone is larger than block and inode numbers can tell.
    #[error("File too large: the image has more metadata than 32-bit numbers can address")]
    ImageTooLarge,
}

impl WriteError {
    /// The inode at fault, if it is one's.
    #[must_use]
    pub fn inode(&self) -> Option<InodeId> {
        match self {
            WriteError::FileTooLarge { inode, .. }
            | WriteError::MarkerShrinks { inode, .. }
            | WriteError::TargetTooLong { inode, .. } => Some(*inode),
            WriteError::Version { .. } | WriteError::RootNid { .. } | WriteError::ImageTooLarge => None,
        }
    }
}
