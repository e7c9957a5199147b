//! Builds a [`Tree`] from sorted input: directory after directory, each with its names in order, as an image has them.
//! No name is looked up.

use super::error::TreeError;
use super::inodes::NewInode;
use super::xattrs::{SetId, XattrTable};
use super::{InodeId, Kind, LINK_BIT, MODE_TYPE, StoredData, StoredEntry, Tree, UNRESOLVED};
use crate::digest::Algorithm;

/// A tree that grows breadth first.
#[derive(Debug)]
pub(crate) struct OrderedBuilder {
    tree: Tree,
    /// The directory whose entries are being pushed.
    open: InodeId,
}

/// An entry by its place among all entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId(pub(crate) u32);

impl OrderedBuilder {
    /// Starts with nothing; the root is the first inode pushed, and must be a directory.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self { tree: Tree::empty(algorithm), open: InodeId::ROOT }
    }

    /// The tree so far. Its entries are grouped and linked as far as they were pushed.
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The table of attributes, to intern sets in.
    pub(crate) fn xattrs(&mut self) -> &mut XattrTable {
        &mut self.tree.xattrs
    }

    /// Adds an inode with a set of attributes of [`xattrs`](Self::xattrs).
    pub(crate) fn push_inode(&mut self, new: &NewInode<'_>, xattrs: SetId) -> Result<InodeId, TreeError> {
        self.tree.push_inode(new, xattrs)
    }

    /// From now on entries are those of `directory`, which has none yet.
    pub(crate) fn open_directory(&mut self, directory: InodeId) {
        let next = self.tree.entries.len() as u32;
        if let StoredData::Directory { start, .. } = &mut self.tree.inodes[directory.index()].data {
            *start = next;
        }
        self.open = directory;
    }

    /// Adds an entry to the open directory, after its other entries, for an inode that has no entry yet.
    pub(crate) fn push_entry(&mut self, name: &[u8], inode: InodeId) -> Result<EntryId, TreeError> {
        if let StoredData::Directory { parent, .. } = &mut self.tree.inodes[inode.index()].data {
            *parent = self.open;
        }
        self.push_target(name, inode.0)
    }

    /// Adds an entry whose inode is set later by [`set_target`](Self::set_target).
    pub(crate) fn push_pending(&mut self, name: &[u8]) -> Result<EntryId, TreeError> {
        self.push_target(name, UNRESOLVED)
    }

    fn push_target(&mut self, name: &[u8], target: u32) -> Result<EntryId, TreeError> {
        let index = u32::try_from(self.tree.entries.len()).map_err(|_| TreeError::TooManyInodes)?;
        let name = self.tree.bytes.push(name);
        self.tree.entries.push(StoredEntry { name, parent: self.open, inode: target });
        if let StoredData::Directory { len, .. } = &mut self.tree.inodes[self.open.index()].data {
            *len += 1;
        }
        Ok(EntryId(index))
    }

    /// Sets the inode of an entry, and marks it as a hard link or not.
    pub(crate) fn set_target(&mut self, entry: EntryId, inode: InodeId, is_link: bool) {
        self.tree.entries[entry.0 as usize].inode = if is_link { inode.0 | LINK_BIT } else { inode.0 };
    }

    /// Makes a whiteout of a regular file.
    pub(crate) fn make_whiteout(&mut self, inode: InodeId) {
        let stored = &mut self.tree.inodes[inode.index()];
        stored.mode = stored.mode & !MODE_TYPE | Kind::CharDevice.mode_bits();
        (stored.size, stored.rdev, stored.data) = (0, 0, StoredData::Special);
    }

    pub(crate) fn set_xattrs(&mut self, inode: InodeId, xattrs: SetId) {
        self.tree.inodes[inode.index()].xattrs = xattrs;
    }

    /// Returns the finished tree.
    pub(crate) fn finish(mut self) -> Tree {
        self.tree.freeze();
        self.tree
    }
}
