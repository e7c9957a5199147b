//! The ways of building that explain a group of changes.

use super::Side;
use crate::tree::Timestamp;

/// A way of building that explains a group of changes. The side is the one that was built that way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// All times are 0.
    Epoch(Side),
    /// All times are this one.
    OneMtime(Side, Timestamp),
    /// Times were made no later than this one.
    Clamped(Side, Timestamp),
    /// Times lost their fractions of a second.
    WholeSeconds(Side),
    /// All times of the second tree are later by this number of seconds.
    Shifted(i64),
    /// Only times of directories differ: those change when a tree is copied.
    DirectoriesOnly,
    /// All inodes belong to this user.
    OneUid(Side, u32),
    /// All inodes belong to this group.
    OneGid(Side, u32),
    /// These permission bits were taken away.
    Masked(Side, u32),
    /// There are no extended attributes.
    NoXattrs(Side),
    /// This side has only attributes whose names begin with `user.`.
    UserXattrs(Side),
    /// An attribute that is the SELinux label of the machine.
    SecurityLabel,
    /// A mark that version 1 gives to directories of whiteouts.
    WhiteoutMark,
    /// No inode has two names.
    NoHardlinks(Side),
    /// The longest content kept in the image, in each of the trees.
    InlineMax(usize, usize),
    /// There are no devices.
    NoDevices(Side),
    /// This number of the files have the content of one that is only in the other tree.
    Moved(usize),
}
