//! Building a [`Tree`] entry by entry, in any order in which a directory comes before what it holds.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::error::TreeError;
use super::inodes::NewInode;
use super::{InodeId, Kind, LINK_BIT, MAX_NAME, StoredData, StoredEntry, Tree, UNRESOLVED};
use crate::digest::Algorithm;

/// An entry whose inode is not known yet: a hard link read before its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PendingLink(u32);

/// A name that can be added to a directory, as long as nothing else is added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreeName {
    parent: InodeId,
    hash: u64,
}

/// The meaning of a name in an unfinished tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundName {
    Inode(InodeId),
    Link(PendingLink),
}

/// Builds a [`Tree`] entry by entry, in any order.
#[derive(Debug)]
pub struct TreeBuilder {
    tree: Tree,
    /// Entries by parent and name.
    names: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl TreeBuilder {
    /// A tree of only a root directory.
    pub fn new(algorithm: Algorithm, root: &NewInode<'_>) -> Result<Self, TreeError> {
        let tree = Tree::empty(algorithm);
        let mut builder = Self { tree, names: HashTable::new(), hasher: DefaultHashBuilder::default() };
        if Kind::from_mode(root.mode) != Some(Kind::Directory) {
            return Err(TreeError::ParentNotDirectory);
        }
        builder.push_inode(root)?;
        Ok(builder)
    }

    /// Adds an inode under a name of an existing directory.
    pub fn add(&mut self, parent: InodeId, name: &[u8], inode: &NewInode<'_>) -> Result<InodeId, TreeError> {
        let claim = self.claim(parent, name)?;
        self.add_claimed(claim, name, inode)
    }

    /// Adds an inode under a name that was [claimed](Self::claim).
    pub(crate) fn add_claimed(
        &mut self,
        claim: FreeName,
        name: &[u8],
        inode: &NewInode<'_>,
    ) -> Result<InodeId, TreeError> {
        let id = self.push_inode(inode)?;
        self.push_entry(claim, name, id.0)?;
        Ok(id)
    }

    /// Adds a hard link: a further name for an inode that is no directory.
    pub fn add_link(&mut self, parent: InodeId, name: &[u8], target: InodeId) -> Result<(), TreeError> {
        if matches!(self.tree.stored(target).data, StoredData::Directory { .. }) {
            return Err(TreeError::LinkToDirectory);
        }
        let claim = self.claim(parent, name)?;
        self.push_entry(claim, name, target.0 | LINK_BIT)?;
        Ok(())
    }

    /// Adds a hard link whose target comes later; [`resolve_link`](Self::resolve_link) must follow.
    pub(crate) fn add_pending_link(&mut self, claim: FreeName, name: &[u8]) -> Result<PendingLink, TreeError> {
        self.push_entry(claim, name, UNRESOLVED)
    }

    pub(crate) fn resolve_link(&mut self, link: PendingLink, target: InodeId) -> Result<(), TreeError> {
        if matches!(self.tree.stored(target).data, StoredData::Directory { .. }) {
            return Err(TreeError::LinkToDirectory);
        }
        self.tree.entries[link.0 as usize].inode = target.0 | LINK_BIT;
        Ok(())
    }

    /// Looks up a name in a directory.
    pub(crate) fn find(&self, parent: InodeId, name: &[u8]) -> Option<FoundName> {
        self.find_hashed(parent, name, self.hasher.hash_one((parent.0, name)))
    }

    fn find_hashed(&self, parent: InodeId, name: &[u8], hash: u64) -> Option<FoundName> {
        let index = *self.names.find(hash, |&e| {
            let entry = &self.tree.entries[e as usize];
            entry.parent == parent && self.tree.bytes.get(entry.name) == name
        })?;
        let entry = &self.tree.entries[index as usize];
        Some(if entry.inode == UNRESOLVED { FoundName::Link(PendingLink(index)) } else { FoundName::Inode(entry.id()) })
    }

    pub(crate) fn is_directory(&self, id: InodeId) -> bool {
        matches!(self.tree.stored(id).data, StoredData::Directory { .. })
    }

    /// Finds out whether a name can be added to a directory.
    pub(crate) fn claim(&self, parent: InodeId, name: &[u8]) -> Result<FreeName, TreeError> {
        if !self.is_directory(parent) {
            return Err(TreeError::ParentNotDirectory);
        }
        check_name(name)?;
        let hash = self.hasher.hash_one((parent.0, name));
        match self.find_hashed(parent, name, hash) {
            Some(_) => Err(TreeError::Duplicate(String::from_utf8_lossy(name).into_owned())),
            None => Ok(FreeName { parent, hash }),
        }
    }

    fn push_entry(&mut self, claim: FreeName, name: &[u8], inode: u32) -> Result<PendingLink, TreeError> {
        let Self { tree, names, hasher } = self;
        let FreeName { parent, hash } = claim;
        let index = u32::try_from(tree.entries.len()).map_err(|_| TreeError::TooManyInodes)?;
        let (entries, bytes) = (&tree.entries, &tree.bytes);
        names.insert_unique(hash, index, |&e| {
            let entry = &entries[e as usize];
            hasher.hash_one((entry.parent.0, bytes.get(entry.name)))
        });
        let name = tree.bytes.push(name);
        tree.entries.push(StoredEntry { name, parent, inode });
        if let StoredData::Directory { len, .. } = &mut tree.inodes[parent.index()].data {
            *len += 1;
        }
        Ok(PendingLink(index))
    }

    fn push_inode(&mut self, new: &NewInode<'_>) -> Result<InodeId, TreeError> {
        let xattrs = self.tree.xattrs.intern(new.xattrs)?;
        self.tree.push_inode(new, xattrs)
    }

    /// Returns the finished tree with its links counted. The order in which a scan found the hard
    /// links does not matter.
    #[must_use]
    pub fn finish_with_counted_links(self) -> Tree {
        let mut tree = self.finish();
        tree.count_links();
        tree
    }

    /// The tree, with the entries of every directory in order.
    ///
    /// # Panics
    ///
    /// If a pending link was not resolved.
    #[must_use]
    pub fn finish(self) -> Tree {
        let Self { mut tree, names, .. } = self;
        drop(names);
        tree.freeze();
        group_entries(&mut tree);
        tree
    }
}

impl Tree {
    /// Makes the first path of every inode, depth first in name order, its place, every other path a link, and
    /// sets each link count to the number of paths.
    pub(crate) fn count_links(&mut self) {
        let tree = self;
        let mut paths = vec![0u32; tree.inodes.len()];
        // Directories yet to be walked, the next one on top.
        let mut stack = vec![InodeId::ROOT];
        let mut cursor: Vec<u32> = vec![0];
        while let (Some(&directory), Some(next)) = (stack.last(), cursor.last_mut()) {
            let StoredData::Directory { start, len, .. } = tree.inodes[directory.index()].data else { unreachable!() };
            if *next == len {
                stack.pop();
                cursor.pop();
                continue;
            }
            let entry = &mut tree.entries[(start + *next) as usize];
            *next += 1;
            let id = entry.id();
            entry.inode = if paths[id.index()] == 0 { id.0 } else { id.0 | LINK_BIT };
            paths[id.index()] += 1;
            if matches!(tree.inodes[id.index()].data, StoredData::Directory { .. }) {
                stack.push(id);
                cursor.push(0);
            }
        }
        for (inode, count) in tree.inodes.iter_mut().zip(paths) {
            if !matches!(inode.data, StoredData::Directory { .. }) {
                inode.nlink = count;
            }
        }
    }
}

/// Checks that an entry can have this name.
pub(super) fn check_name(name: &[u8]) -> Result<(), TreeError> {
    let has_length = (1..=MAX_NAME).contains(&name.len());
    if !has_length || name == b"." || name == b".." || name.iter().any(|b| matches!(b, 0 | b'/')) {
        return Err(TreeError::Name(String::from_utf8_lossy(name).into_owned()));
    }
    Ok(())
}

/// Groups the entries by directory (a counting sort), then orders each group by name.
fn group_entries(tree: &mut Tree) {
    assert!(tree.entries.iter().all(|e| e.inode != UNRESOLVED), "a link was left unresolved");
    let mut start = 0;
    for inode in &mut tree.inodes {
        if let StoredData::Directory { start: first, len, .. } = &mut inode.data {
            *first = start;
            start += *len;
        }
    }
    let mut order = vec![0u32; tree.entries.len()];
    let mut filled = vec![0u32; tree.inodes.len()];
    for (index, entry) in tree.entries.iter().enumerate() {
        let StoredData::Directory { start, .. } = tree.inodes[entry.parent.index()].data else { unreachable!() };
        let filled = &mut filled[entry.parent.index()];
        order[(start + *filled) as usize] = index as u32;
        *filled += 1;
    }
    drop(filled);
    tree.entries = order.iter().map(|&index| tree.entries[index as usize]).collect();
    drop(order);
    let Tree { bytes, entries, inodes, .. } = tree;
    for entry in entries.iter() {
        if let StoredData::Directory { parent, .. } = &mut inodes[entry.id().index()].data {
            *parent = entry.parent;
        }
    }
    for inode in inodes {
        if let StoredData::Directory { start, len, .. } = inode.data {
            let group = &mut entries[start as usize..(start + len) as usize];
            if !group.is_sorted_by(|a, b| bytes.get(a.name) <= bytes.get(b.name)) {
                group.sort_unstable_by(|a, b| bytes.get(a.name).cmp(bytes.get(b.name)));
            }
        }
    }
}
