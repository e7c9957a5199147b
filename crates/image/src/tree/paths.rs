//! Paths: where the inodes of a tree are.

use super::{EntryId, InodeId, Tree};

impl Tree {
    /// The path of an inode's place, from `/`. Meant for messages: it looks at every entry. For many paths there is
    /// [`places`](Self::places).
    #[must_use]
    pub fn path_of(&self, inode: InodeId) -> Vec<u8> {
        let mut path = Vec::new();
        self.places().push_path(inode, &mut path);
        path
    }

    /// A table of where every inode is.
    #[must_use]
    pub fn places(&self) -> Places<'_> {
        let mut entries = vec![NO_ENTRY; self.inodes.len()];
        for (index, entry) in self.entries.iter().enumerate().filter(|(_, entry)| !entry.is_link()) {
            entries[entry.id().index()] = index as u32;
        }
        Places { tree: self, entries }
    }
}

/// Marks the root in [`Places`], which no entry names.
const NO_ENTRY: u32 = u32::MAX;

/// The places of all inodes of a tree, in four bytes each at any depth.
#[derive(Clone, Debug)]
pub struct Places<'a> {
    tree: &'a Tree,
    /// The entry that is the place of each inode.
    entries: Vec<u32>,
}

impl Places<'_> {
    /// The directory of an inode's place; the root has none.
    #[must_use]
    pub fn parent(&self, inode: InodeId) -> Option<InodeId> {
        self.tree.entries.get(self.entries[inode.index()] as usize).map(|entry| entry.parent)
    }

    /// Appends the path of an entry, whether it is a place or a link.
    pub(crate) fn push_entry_path(&self, entry: EntryId, path: &mut Vec<u8>) {
        let entry = &self.tree.entries[entry.0 as usize];
        if entry.parent != InodeId::ROOT {
            self.push_path(entry.parent, path);
        }
        path.push(b'/');
        path.extend_from_slice(self.tree.bytes.get(entry.name));
    }

    /// Appends the path of an inode's place, from `/`.
    pub fn push_path(&self, inode: InodeId, path: &mut Vec<u8>) {
        let start = path.len();
        let mut at = inode;
        // The names come last one first: each is written backwards, and all of it turned round.
        while let Some(entry) = self.tree.entries.get(self.entries[at.index()] as usize) {
            path.extend(self.tree.bytes.get(entry.name).iter().rev());
            path.push(b'/');
            at = entry.parent;
        }
        if path.len() == start {
            path.push(b'/');
        }
        path[start..].reverse();
    }
}
