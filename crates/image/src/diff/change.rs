//! A path where the trees differ, in a few bytes.

use super::{Fields, Side};
use crate::tree::{EntryId, InodeId, Tree};

/// The position of an entry in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Nowhere,
    Root,
    Entry(EntryId),
}

impl At {
    pub(super) fn inode(self, tree: &Tree) -> Option<InodeId> {
        match self {
            At::Nowhere => None,
            At::Root => Some(InodeId::ROOT),
            At::Entry(entry) => Some(tree.target(entry)),
        }
    }
}

/// A path that is in one tree only, or differs.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub(super) a: At,
    pub(super) b: At,
    pub(super) fields: Fields,
    pub(super) is_within: bool,
}

impl Change {
    /// The fields that differ; none of what is in one tree only.
    #[must_use]
    pub fn fields(&self) -> Fields {
        self.fields
    }

    /// The tree that alone has the path.
    #[must_use]
    pub fn only(&self) -> Option<Side> {
        match (self.a, self.b) {
            (_, At::Nowhere) => Some(Side::A),
            (At::Nowhere, _) => Some(Side::B),
            _ => None,
        }
    }

    /// Returns `true` if the entry is in one tree only and its parent directory is too.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.is_within
    }

    pub(super) fn at(&self, side: Side) -> At {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }
}
