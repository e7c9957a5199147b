//! A path where the trees differ, in a few bytes.

use super::{FieldSet, Side};
use crate::tree::{EntryId, InodeId, Tree};

/// The position of an entry in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryPosition {
    Nowhere,
    Root,
    Entry(EntryId),
}

impl EntryPosition {
    pub(super) fn inode(self, tree: &Tree) -> Option<InodeId> {
        match self {
            EntryPosition::Nowhere => None,
            EntryPosition::Root => Some(InodeId::ROOT),
            EntryPosition::Entry(entry) => Some(tree.target(entry)),
        }
    }
}

/// A path that is in one tree only, or differs.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub(super) a: EntryPosition,
    pub(super) b: EntryPosition,
    pub(super) fields: FieldSet,
    pub(super) is_within: bool,
}

impl Change {
    /// The fields that differ; none of what is in one tree only.
    #[must_use]
    pub fn fields(&self) -> FieldSet {
        self.fields
    }

    /// The tree that alone has the path.
    #[must_use]
    pub fn only(&self) -> Option<Side> {
        match (self.a, self.b) {
            (_, EntryPosition::Nowhere) => Some(Side::A),
            (EntryPosition::Nowhere, _) => Some(Side::B),
            _ => None,
        }
    }

    /// Returns `true` if the entry is in one tree only and its parent directory is too.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.is_within
    }

    pub(super) fn at(&self, side: Side) -> EntryPosition {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }
}
