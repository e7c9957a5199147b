//! The inodes that a check has met: enough of each for its path, and for the checks that need all inodes.

use std::collections::HashMap;

/// The data kept of an inode: enough for its path, and for the checks that need all inodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Met<'a> {
    pub(super) nid: u32,
    /// The index of the directory of its first name; of the root its own.
    parent: u32,
    name: &'a [u8],
    /// The number of names that lead to the inode.
    pub(super) names: u32,
    pub(super) links: u32,
    pub(super) ino: u32,
    pub(super) kind: Shape,
}

/// The kind of an inode, as far as a second name for it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It could not be read.
    Broken,
    Directory,
    /// A whiteout of a version that hides the object directories.
    Stub,
    /// Of this type in dirents.
    Other(u8),
}

/// All of them, in the order in which they were met.
#[derive(Debug, Default)]
pub(super) struct MetInodes<'a> {
    all: Vec<Met<'a>>,
    by_nid: HashMap<u32, u32>,
}

/// Of a path no more is shown.
const PATH_SHOWN: usize = 4096;

impl<'a> MetInodes<'a> {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, index: u32) -> &Met<'a> {
        &self.all[index as usize]
    }

    pub(super) fn get_mut(&mut self, index: u32) -> &mut Met<'a> {
        &mut self.all[index as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Met<'a>)> {
        (0..).zip(&self.all)
    }

    /// The directory of an inode's first name; the root's is the root.
    pub(super) fn parent(&self, index: u32) -> u32 {
        self.get(index).parent
    }

    pub(super) fn find(&self, nid: u32) -> Option<u32> {
        self.by_nid.get(&nid).copied()
    }

    /// Adds an inode that was not met before. Every nid in the file fits in 32 bits.
    pub(super) fn push(&mut self, nid: u32, parent: u32, name: &'a [u8]) -> u32 {
        let index = self.all.len() as u32;
        self.by_nid.insert(nid, index);
        self.all.push(Met { nid, parent, name, names: 1, links: 0, ino: 0, kind: Shape::Broken });
        index
    }

    /// The path of an inode's first name.
    pub(super) fn path(&self, index: u32) -> Vec<u8> {
        if index == 0 { b"/".to_vec() } else { self.path_in(self.get(index).parent, self.get(index).name) }
    }

    /// The path of a name in a directory.
    pub(super) fn path_in(&self, directory: u32, name: &[u8]) -> Vec<u8> {
        // The names come last one first: each is written backwards, and all of it turned round.
        let mut path: Vec<u8> = name.iter().rev().chain(b"/").copied().collect();
        let mut at = directory;
        while at != 0 {
            if path.len() > PATH_SHOWN {
                path.extend_from_slice(b"...");
                break;
            }
            let met = self.get(at);
            path.extend(met.name.iter().rev().chain(b"/"));
            at = met.parent;
        }
        path.reverse();
        path
    }
}
