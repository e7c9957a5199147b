//! Finds the differences between two trees.
//!
//! [`diff`] walks both trees side by side and returns a [`Diff`]: a list of [`Change`]s, each a path and the
//! [`FieldSet`] that differ there, in a few bytes. The values on both sides are looked up on demand ([`Diff::value`]).
//!
//! [`causes`] groups the changes by what they have in common.
//!
//! Trees are compared for what an image of them holds. What an image does not record is ignored: the size and the link
//! count of a directory, and payload and digest of empty and inline files. Two trees without a change give, in one
//! format version, the same image.
//!
//! ```
//! use libcomposefs_image::diff::{Field, Options, diff};
//! use libcomposefs_image::tree::{InodeId, NewInode, Tree, TreeBuilder, TreeError};
//! use libcomposefs_image::Algorithm;
//!
//! fn tree(uid: u32) -> Result<Tree, TreeError> {
//!     let root = NewInode { mode: 0o040755, ..NewInode::default() };
//!     let mut builder = TreeBuilder::new(Algorithm::Sha256, &root)?;
//!     builder.add(InodeId::ROOT, b"file", &NewInode { mode: 0o100644, uid, ..NewInode::default() })?;
//!     Ok(builder.finish())
//! }
//!
//! let (a, b) = (tree(0)?, tree(1000)?);
//! let found = diff(&a, &b, &Options::default());
//! assert_eq!(found.counts().field(Field::Uid), 1);
//! assert_eq!(found.path(&found.changes()[0]), b"/file");
//! # Ok::<(), TreeError>(())
//! ```

mod attributes;
pub mod causes;
mod change;
mod counts;
mod field;
mod hardlinks;
mod inodes;
mod order;
mod value;
mod walk;

use std::sync::OnceLock;

pub use change::Change;
pub use counts::Counts;
pub use field::{Field, FieldSet, UnknownField};
pub use value::{FieldValue, FileContent};

use crate::tree::{EntryId, Inode, Places, SetId, Tree};
use change::EntryPosition;
use hardlinks::LinkNames;

/// One of the two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The first tree.
    A,
    /// The second tree.
    B,
}

impl Side {
    /// Returns the other side.
    #[must_use]
    pub const fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
}

/// Options of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Fields that may differ.
    pub ignore: FieldSet,
    /// Names of extended attributes that may differ.
    pub ignore_xattrs: Vec<Vec<u8>>,
    /// Only what has this path and what is below it. Symlinks on the way are not followed. Empty or `/` is all.
    pub below: Vec<u8>,
}

/// An extended attribute that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XattrChange<'t> {
    /// The name of the attribute.
    pub name: &'t [u8],
    /// Its value in the first tree.
    pub old: Option<&'t [u8]>,
    /// Its value in the second.
    pub new: Option<&'t [u8]>,
}

/// The differences between two trees.
#[derive(Clone, Debug)]
pub struct Diff<'t> {
    trees: [&'t Tree; 2],
    ignore_xattrs: Vec<Vec<u8>>,
    changes: Vec<Change>,
    counts: Counts,
    // The places of the inodes, computed when a path or name is asked for.
    places: [OnceLock<Places<'t>>; 2],
    names: [OnceLock<LinkNames>; 2],
}

/// Compares two trees and returns the differences.
#[must_use]
pub fn diff<'t>(a: &'t Tree, b: &'t Tree, options: &Options) -> Diff<'t> {
    let walk::FoundEntries { changes, counts } = walk::walk(a, b, options);
    let ignore_xattrs = options.ignore_xattrs.clone();
    Diff { trees: [a, b], ignore_xattrs, changes, counts, places: Default::default(), names: Default::default() }
}

impl<'t> Diff<'t> {
    /// The changes, a directory before what it holds, names in byte order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Returns the number of entries that differ, and in which fields.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns `true` if nothing differs. Contents whose digests are of two algorithms are not known to differ; see
    /// [`Counts::incomparable`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// One of the trees.
    #[must_use]
    pub fn tree(&self, side: Side) -> &'t Tree {
        self.trees[side as usize]
    }

    /// The path of a change, from `/`.
    #[must_use]
    pub fn path(&self, change: &Change) -> Vec<u8> {
        let side = if change.a == EntryPosition::Nowhere { Side::B } else { Side::A };
        match change.at(side) {
            EntryPosition::Entry(entry) => self.entry_path(side, entry),
            EntryPosition::Root | EntryPosition::Nowhere => b"/".to_vec(),
        }
    }

    fn entry_path(&self, side: Side, entry: EntryId) -> Vec<u8> {
        let mut path = Vec::new();
        self.places[side as usize].get_or_init(|| self.tree(side).places()).push_entry_path(entry, &mut path);
        path
    }

    /// Returns the inode that one side has at the path of a change.
    #[must_use]
    pub fn inode(&self, side: Side, change: &Change) -> Option<Inode<'t>> {
        change.at(side).inode(self.tree(side)).map(|inode| self.tree(side).inode(inode))
    }

    /// The extended attributes that differ at a path that both have.
    #[must_use]
    pub fn xattrs(&self, change: &Change) -> Vec<XattrChange<'t>> {
        let [a, b] = self.xattr_sets(change);
        attributes::changes((self.trees[0], a), (self.trees[1], b), &self.ignore_xattrs)
    }

    fn xattr_sets(&self, change: &Change) -> [SetId; 2] {
        let set = |side: Side| {
            change.at(side).inode(self.tree(side)).map(|inode| self.tree(side).stored(inode).xattrs).unwrap_or_default()
        };
        [set(Side::A), set(Side::B)]
    }

    /// Returns the names that one side has for the inode at the path of a change, including that path; at most `most`
    /// of them, because each of a million names has a million.
    #[must_use]
    pub fn names(&self, side: Side, change: &Change, limit: usize) -> Vec<Vec<u8>> {
        let EntryPosition::Entry(entry) = change.at(side) else { return Vec::new() };
        let names = self.entries(side, entry).take(limit);
        let mut names: Vec<_> = names.map(|entry| self.entry_path(side, entry)).collect();
        if names.is_empty() {
            names.push(self.entry_path(side, entry));
        }
        names
    }

    /// The entries that share an inode; none if the one given is the only one.
    fn entries(&self, side: Side, entry: EntryId) -> impl ExactSizeIterator<Item = EntryId> {
        let tree = self.tree(side);
        self.names[side as usize].get_or_init(|| LinkNames::of(tree)).get(tree.target(entry))
    }
}
