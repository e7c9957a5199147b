//! Merges layers: applies the changes of one layer after the other to a tree, without IO.
//!
//! [`Layers`] is the state of the tree between two changes. A reader of a layer (an OCI tar stream, the upper directory
//! of an overlayfs) translates its entries to the operations of [`Layers`]; which marks a layer has for a removal is
//! known to that reader alone, and [`LayerMark`] recognises the marks in use. [`Layers::merge`] applies a whole
//! [`Tree`] as a layer.
//!
//! The rules are those of the OCI image specification (`layer.md`, "Applying Changesets"):
//!
//! * A directory on a directory replaces mode, owner, times and extended attributes; the entries stay.
//! * Any other pair replaces the entry and everything below it. The new file is a new inode: other hard links of the
//!   old inode keep it.
//! * A hard link names the inode that its target names at that moment, also if the target is from a lower layer.
//! * A whiteout removes an entry and everything below it; a missing entry is no error.
//! * An opaque mark removes the entries below a directory that lower layers made, and keeps those of its own layer.
//!
//! Nothing recurses, and `k` operations and [`Layers::finish`] take time and memory of `O(k)` together: a removal drops
//! one entry, what is below it is no longer reached; an opaque mark looks at a directory once in each layer.

mod difference;
mod marks;
mod whole_tree;

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::builder::check_name;
use super::{InodeId, Kind, NewInode, Timestamp, Tree, TreeError};
use crate::digest::Algorithm;

pub use difference::overlay_difference;
pub use marks::{LayerMark, MarkStyle};

/// The inode number of a removed entry.
const REMOVED: u32 = u32::MAX;

/// The inode of an entry in a tree that is being merged.
///
/// It is valid until the entry is removed or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerInode(u32);

impl LayerInode {
    /// The root directory.
    pub const ROOT: LayerInode = LayerInode(0);
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug)]
struct LayerEntry {
    parent: u32,
    inode: u32,
    /// The range of the name in [`Layers::names`].
    name: (usize, u8),
    /// The number of the layer that made the entry.
    layer: u32,
    /// The entry before this one in the same directory.
    previous: u32,
}

/// The state of an inode.
#[derive(Clone, Copy, Debug)]
struct LayerNode {
    /// The inode in [`Layers::arena`] with its metadata.
    stored: InodeId,
    is_directory: bool,
    /// The newest entry of a directory.
    last: u32,
    /// The entry that names a directory, which is one only. [`NO_ENTRY`] for the root.
    named_by: u32,
    /// The last layer that put an entry below a directory.
    touched: u32,
    /// The layer of which all entries of a directory are, or later ones: it made the directory, or made it opaque.
    opaque_since: u32,
}

/// The end of a list of entries.
const NO_ENTRY: u32 = u32::MAX;

/// A tree to which layers are applied, the lowest first.
///
/// ```
/// use libcomposefs_image::tree::{LayerInode, Layers, NewInode};
/// use libcomposefs_image::Algorithm;
///
/// let directory = NewInode { mode: 0o40755, ..NewInode::default() };
/// let file = NewInode { mode: 0o100644, size: 2, content: Some(b"a\n"), ..NewInode::default() };
///
/// let mut layers = Layers::new(Algorithm::Sha256, &directory)?;
/// let etc = layers.put(LayerInode::ROOT, b"etc", &directory)?;
/// layers.put(etc, b"old", &file)?;
///
/// layers.next_layer();
/// layers.put(etc, b"new", &file)?;
/// layers.whiteout(etc, b"old");
///
/// let tree = layers.finish()?;
/// let etc = tree.child(tree.inodes().next().unwrap().id(), b"etc").unwrap().inode;
/// let names: Vec<_> = tree.children(etc).map(|entry| entry.name).collect();
/// assert_eq!(names, [b"new"]);
/// # Ok::<(), libcomposefs_image::tree::TreeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Layers {
    /// All inodes that were put, also those that nothing names any more. It has no entries.
    arena: Tree,
    nodes: Vec<LayerNode>,
    entries: Vec<LayerEntry>,
    names: Vec<u8>,
    /// Live entries by parent and name.
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    layer: u32,
}

impl Layers {
    /// Returns a tree of only a root directory, before its first layer.
    ///
    /// # Errors
    ///
    /// If `root` is not a directory or breaks a limit.
    pub fn new(algorithm: Algorithm, root: &NewInode<'_>) -> Result<Self, TreeError> {
        if Kind::from_mode(root.mode) != Some(Kind::Directory) {
            return Err(TreeError::ParentNotDirectory);
        }
        let mut layers = Self {
            arena: Tree::empty(algorithm),
            nodes: Vec::new(),
            entries: Vec::new(),
            names: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            layer: 0,
        };
        layers.push_node(root)?;
        Ok(layers)
    }

    /// Ends a layer: an opaque mark removes the entries made until now.
    pub fn next_layer(&mut self) {
        self.layer += 1;
    }

    /// Returns the inode of a name in a directory.
    #[must_use]
    pub fn find(&self, directory: LayerInode, name: &[u8]) -> Option<LayerInode> {
        self.find_entry(directory, name).map(|entry| LayerInode(self.entries[entry as usize].inode))
    }

    /// Returns `true` if an inode is a directory.
    #[must_use]
    pub fn is_directory(&self, inode: LayerInode) -> bool {
        self.nodes[inode.0 as usize].is_directory
    }

    /// Returns the time of last modification of an inode.
    #[must_use]
    pub fn mtime(&self, inode: LayerInode) -> Timestamp {
        self.arena.inode(self.nodes[inode.0 as usize].stored).mtime()
    }

    /// Gives a directory the mode, owner, time and extended attributes of another.
    ///
    /// # Errors
    ///
    /// [`TreeError::ParentNotDirectory`], if one of both is no directory.
    pub fn copy_metadata(&mut self, from: LayerInode, to: LayerInode) -> Result<(), TreeError> {
        if !self.is_directory(from) || !self.is_directory(to) {
            return Err(TreeError::ParentNotDirectory);
        }
        self.nodes[to.0 as usize].stored = self.nodes[from.0 as usize].stored;
        Ok(())
    }

    /// Sets the time of last modification of a directory.
    ///
    /// # Errors
    ///
    /// [`TreeError::ParentNotDirectory`], if it is no directory.
    pub fn set_mtime(&mut self, directory: LayerInode, mtime: Timestamp) -> Result<(), TreeError> {
        if !self.is_directory(directory) {
            return Err(TreeError::ParentNotDirectory);
        }
        let stored = self.arena.push_changed(self.nodes[directory.0 as usize].stored, mtime)?;
        self.nodes[directory.0 as usize].stored = stored;
        Ok(())
    }

    /// Replaces the metadata of the root directory.
    ///
    /// # Errors
    ///
    /// If `root` is not a directory or breaks a limit.
    pub fn set_root(&mut self, root: &NewInode<'_>) -> Result<(), TreeError> {
        if Kind::from_mode(root.mode) != Some(Kind::Directory) {
            return Err(TreeError::ParentNotDirectory);
        }
        self.set_metadata(LayerInode::ROOT, root)
    }

    /// Puts an inode under a name. A directory on a directory replaces its metadata and keeps its entries; anything
    /// else replaces the entry and what is below it.
    ///
    /// # Errors
    ///
    /// If `directory` is not a directory, or the name or the inode breaks a limit of a tree.
    pub fn put(&mut self, directory: LayerInode, name: &[u8], inode: &NewInode<'_>) -> Result<LayerInode, TreeError> {
        self.check(directory, name)?;
        let is_directory = Kind::from_mode(inode.mode) == Some(Kind::Directory);
        if let Some(entry) = self.find_entry(directory, name) {
            let found = LayerInode(self.entries[entry as usize].inode);
            if is_directory && self.is_directory(found) {
                self.set_metadata(found, inode)?;
                self.entries[entry as usize].layer = self.layer;
                self.touch(directory);
                return Ok(found);
            }
        }
        let new = self.push_node(inode)?;
        self.set_entry(directory, name, new)?;
        Ok(new)
    }

    /// Makes a name a hard link to an inode that another name of the tree has, and replaces what had the name.
    ///
    /// # Errors
    ///
    /// If `target` is a directory, `directory` is not, or the name breaks a limit of a tree.
    pub fn link(&mut self, directory: LayerInode, name: &[u8], target: LayerInode) -> Result<(), TreeError> {
        self.check(directory, name)?;
        if self.is_directory(target) {
            return Err(TreeError::LinkToDirectory);
        }
        self.set_entry(directory, name, target)
    }

    /// Removes an entry and everything below it. Returns the number of the layer that made the entry, counted from 0,
    /// or `None` if there is no such entry.
    ///
    /// The OCI specification has a whiteout hide lower layers only. Tools apply it in the order of the layer, so a
    /// whiteout after an entry of its own layer removes that entry; the return value lets the caller warn.
    pub fn whiteout(&mut self, directory: LayerInode, name: &[u8]) -> Option<u32> {
        let entry = self.find_entry(directory, name)?;
        self.remove(entry);
        Some(self.entries[entry as usize].layer)
    }

    /// Removes the entries below a directory that lower layers made. Entries that this layer put before are kept, and
    /// so are the directories that lead to them.
    pub fn opaque(&mut self, directory: LayerInode) {
        let layer = self.layer;
        let mut stack = vec![directory.0];
        while let Some(directory) = stack.pop() {
            let node = &mut self.nodes[directory as usize];
            // Entries of lower layers do not come back, so the second mark in a layer has nothing to remove.
            if std::mem::replace(&mut node.opaque_since, layer) == layer {
                continue;
            }
            self.remove_entries(directory, |entry, node| {
                let is_kept = entry.layer == layer || node.is_directory && node.touched == layer;
                if is_kept && node.is_directory {
                    stack.push(entry.inode);
                }
                !is_kept
            });
        }
    }

    /// Removes what lower layers made of an entry: the entry itself, or, if this layer put the entry or something below
    /// it, only what is below it of lower layers.
    pub fn whiteout_lower(&mut self, directory: LayerInode, name: &[u8]) {
        let Some(entry) = self.find_entry(directory, name) else { return };
        let LayerEntry { inode, layer, .. } = self.entries[entry as usize];
        let node = self.nodes[inode as usize];
        if layer != self.layer && !(node.is_directory && node.touched == self.layer) {
            self.remove(entry);
        } else if node.is_directory {
            self.opaque(LayerInode(inode));
        }
    }

    /// Removes all entries of a directory, also those of the layer that is being applied. cfsctl does this for an
    /// opaque mark, whatever its position in the layer. Returns the newest layer that made one of the removed entries,
    /// counted from 0, or `None` if there was none.
    pub fn clear(&mut self, directory: LayerInode) -> Option<u32> {
        let mut newest = None;
        self.remove_entries(directory.0, |entry, _| {
            newest = newest.max(Some(entry.layer));
            true
        });
        newest
    }
}

/// The private operations on the tables.
impl Layers {
    fn check(&self, directory: LayerInode, name: &[u8]) -> Result<(), TreeError> {
        if !self.is_directory(directory) {
            return Err(TreeError::ParentNotDirectory);
        }
        check_name(name)
    }

    fn push_node(&mut self, inode: &NewInode<'_>) -> Result<LayerInode, TreeError> {
        let stored = self.store(inode)?;
        let is_directory = Kind::from_mode(inode.mode) == Some(Kind::Directory);
        let id = u32::try_from(self.nodes.len()).ok().filter(|id| *id != REMOVED).ok_or(TreeError::TooManyInodes)?;
        let layer = self.layer;
        let (last, named_by) = (NO_ENTRY, NO_ENTRY);
        self.nodes.push(LayerNode { stored, is_directory, last, named_by, touched: layer, opaque_since: layer });
        Ok(LayerInode(id))
    }

    fn store(&mut self, inode: &NewInode<'_>) -> Result<InodeId, TreeError> {
        let xattrs = self.arena.xattrs.intern(inode.xattrs)?;
        self.arena.push_inode(inode, xattrs)
    }

    fn set_metadata(&mut self, directory: LayerInode, inode: &NewInode<'_>) -> Result<(), TreeError> {
        self.nodes[directory.0 as usize].stored = self.store(inode)?;
        Ok(())
    }

    fn name(&self, entry: &LayerEntry) -> &[u8] {
        &self.names[entry.name.0..entry.name.0 + usize::from(entry.name.1)]
    }

    fn find_entry(&self, directory: LayerInode, name: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one((directory.0, name));
        let is_it = |&index: &u32| {
            let entry = &self.entries[index as usize];
            entry.parent == directory.0 && self.name(entry) == name
        };
        self.table.find(hash, is_it).copied()
    }

    /// Points a name to an inode, and removes the entry that had the name.
    fn set_entry(&mut self, directory: LayerInode, name: &[u8], inode: LayerInode) -> Result<(), TreeError> {
        let index = u32::try_from(self.entries.len()).ok().filter(|index| *index != NO_ENTRY);
        let index = index.ok_or(TreeError::TooManyInodes)?;
        if let Some(old) = self.find_entry(directory, name) {
            self.remove(old);
        }
        self.touch(directory);
        if self.is_directory(inode) {
            self.nodes[inode.0 as usize].named_by = index;
        }
        let start = self.names.len();
        self.names.extend_from_slice(name);
        let previous = std::mem::replace(&mut self.nodes[directory.0 as usize].last, index);
        let name = (start, name.len() as u8);
        self.entries.push(LayerEntry { parent: directory.0, inode: inode.0, name, layer: self.layer, previous });
        let Self { table, entries, names, hasher, .. } = self;
        let hash_of = |&index: &u32| {
            let LayerEntry { parent, name: (start, len), .. } = entries[index as usize];
            hasher.hash_one((parent, &names[start..start + usize::from(len)]))
        };
        table.insert_unique(hash_of(&index), index, hash_of);
        Ok(())
    }

    /// Removes an entry from the table. What is below it is no longer reachable.
    fn remove(&mut self, entry: u32) {
        let removed = &self.entries[entry as usize];
        let hash = self.hasher.hash_one((removed.parent, self.name(removed)));
        if let Ok(found) = self.table.find_entry(hash, |index| *index == entry) {
            found.remove();
        }
        self.entries[entry as usize].inode = REMOVED;
    }

    fn remove_entries(&mut self, directory: u32, mut is_removed: impl FnMut(&LayerEntry, &LayerNode) -> bool) {
        let mut next = self.nodes[directory as usize].last;
        // The list is made anew of the entries that stay, so that no entry is removed twice.
        let mut kept = NO_ENTRY;
        while let Some(&entry) = self.entries.get(next as usize) {
            if entry.inode != REMOVED {
                if is_removed(&entry, &self.nodes[entry.inode as usize]) {
                    self.remove(next);
                } else {
                    self.entries[next as usize].previous = kept;
                    kept = next;
                }
            }
            next = entry.previous;
        }
        self.nodes[directory as usize].last = kept;
    }

    /// Notes that the current layer puts something into a directory, in it and the directories above it.
    fn touch(&mut self, directory: LayerInode) {
        let mut at = directory.0;
        loop {
            let node = &mut self.nodes[at as usize];
            if std::mem::replace(&mut node.touched, self.layer) == self.layer {
                return;
            }
            match self.entries.get(node.named_by as usize) {
                Some(entry) => at = entry.parent,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
