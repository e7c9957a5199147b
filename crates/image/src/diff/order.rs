//! Matches the inodes of two trees, and compares the order in which the trees list them.

use crate::erofs::{stub_name, stubs_of};
use crate::tree::{EntryId, InodeId, Tree};

/// An inode that was met with none yet of the other tree ...
const UNMET: u32 = u32::MAX;
/// ... and one that was met with several.
const SEVERAL: u32 = u32::MAX - 1;

/// For each inode of both trees the one of the other that has the same names.
#[derive(Debug)]
pub(super) struct Partners([Vec<u32>; 2]);

impl Partners {
    pub(super) fn new(a: &Tree, b: &Tree) -> Self {
        let mut partners = Self([a, b].map(|tree| vec![UNMET; tree.inode_count()]));
        partners.meet([InodeId::ROOT; 2]);
        partners
    }

    /// Takes note of two inodes under one name.
    pub(super) fn meet(&mut self, inodes: [InodeId; 2]) {
        for side in 0..2 {
            let partner = &mut self.0[side][inodes[side].index()];
            let met = inodes[1 - side].0;
            *partner = if *partner == UNMET || *partner == met { met } else { SEVERAL };
        }
    }

    /// Returns `true` if each of the two inodes was met with the other only.
    pub(super) fn are_one_group(&self, [a, b]: [InodeId; 2]) -> bool {
        self.0[0][a.index()] == b.0 && self.0[1][b.index()] == a.0
    }

    /// Returns `true` if the inodes that both trees have are in the same order, that of an image: breadth first by
    /// their places. An inode with several names can have another place in the same order.
    pub(super) fn have_one_order(&self, a: &Tree, b: &Tree) -> bool {
        let of_a = breadth_first(a).into_iter().filter(|listed| match listed {
            ListedInode::Inode(inode) => known(self.0[0][inode.index()]),
            ListedInode::Stub => true,
        });
        let of_b = breadth_first(b).into_iter().filter_map(|listed| match listed {
            ListedInode::Inode(inode) => {
                Some(self.0[1][inode.index()]).filter(|of_a| known(*of_a)).map(|of_a| ListedInode::Inode(InodeId(of_a)))
            }
            ListedInode::Stub => Some(ListedInode::Stub),
        });
        of_a.eq(of_b)
    }

    /// Returns `true` if the same directories hold whiteouts, among those that both trees have.
    pub(super) fn have_one_home_of_whiteouts(&self, a: &Tree, b: &Tree) -> bool {
        let (of_a, of_b) = (holds_whiteouts(a), holds_whiteouts(b));
        let mut pairs = self.0[0].iter().zip(of_a).filter(|(partner, _)| known(**partner));
        pairs.all(|(partner, holds)| of_b[*partner as usize] == holds)
    }
}

fn known(partner: u32) -> bool {
    partner != UNMET && partner != SEVERAL
}

/// Returns for each directory whether whiteouts have their place in it: an image marks such directories.
fn holds_whiteouts(tree: &Tree) -> Vec<bool> {
    let mut holds = vec![false; tree.inode_count()];
    for entry in (0..tree.entry_count() as u32).map(EntryId) {
        if !tree.entry(entry).is_link && tree.stored(tree.target(entry)).is_whiteout() {
            holds[tree.directory_of(entry).index()] = true;
        }
    }
    holds
}

/// An entry of an image's list of inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListedInode {
    Inode(InodeId),
    /// An inode that the writer adds to the root.
    Stub,
}

/// The list of inodes but for the root (`docs/format/image.md`, "The list of inodes").
fn breadth_first(tree: &Tree) -> Vec<ListedInode> {
    let places = |directory| tree.children(directory).filter(|entry| !entry.is_link);
    let mut list = Vec::with_capacity(tree.inode_count());
    let mut stubs = stubs_of(tree).map(stub_name).peekable();
    for entry in places(InodeId::ROOT) {
        while stubs.next_if(|name| name[..] < *entry.name).is_some() {
            list.push(ListedInode::Stub);
        }
        list.push(ListedInode::Inode(entry.inode));
    }
    list.extend(stubs.map(|_| ListedInode::Stub));
    let mut next = 0;
    while let Some(&listed) = list.get(next) {
        next += 1;
        if let ListedInode::Inode(inode) = listed {
            list.extend(places(inode).map(|entry| ListedInode::Inode(entry.inode)));
        }
    }
    list
}
