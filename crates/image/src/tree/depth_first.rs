//! Going through a whole tree.

use std::ops::Range;

use super::{Entry, EntryId, InodeId, Kind, Tree};

/// All entries of a tree, a directory before what it holds, names in byte order. Takes a few bytes for each level of
/// depth.
#[derive(Clone, Debug)]
pub struct DepthFirst<'t> {
    tree: &'t Tree,
    /// The path of the entry that was given last.
    path: Vec<u8>,
    /// For each level, the length of the directory's path and its entries yet to come.
    stack: Vec<(usize, Range<u32>)>,
}

impl Tree {
    /// Goes through all entries, depth first.
    #[must_use]
    pub fn depth_first(&self) -> DepthFirst<'_> {
        self.depth_first_from(InodeId::ROOT, b"")
    }

    /// Goes through all entries below a directory. Their paths begin with `path`, which is the directory's.
    #[must_use]
    pub fn depth_first_from(&self, directory: InodeId, path: &[u8]) -> DepthFirst<'_> {
        DepthFirst { tree: self, path: path.to_owned(), stack: vec![(path.len(), self.entries_of(directory))] }
    }
}

impl<'t> DepthFirst<'t> {
    /// The next entry with its path.
    pub fn step(&mut self) -> Option<(&[u8], Entry<'t>)> {
        self.step_numbered().map(|(path, entry, _)| (path, entry))
    }

    /// The next entry with its path and its number among all entries of the tree.
    pub(super) fn step_numbered(&mut self) -> Option<(&[u8], Entry<'t>, EntryId)> {
        loop {
            let (path_len, entries) = self.stack.last_mut()?;
            self.path.truncate(*path_len);
            let Some(next) = entries.next() else {
                self.stack.pop();
                continue;
            };
            let entry = self.tree.entry(EntryId(next));
            self.path.push(b'/');
            self.path.extend_from_slice(entry.name);
            if !entry.is_link && self.tree.inode(entry.inode).kind() == Kind::Directory {
                self.stack.push((self.path.len(), self.tree.entries_of(entry.inode)));
            }
            return Some((&self.path, entry, EntryId(next)));
        }
    }
}
