//! Finds out which name of an inode with hard links is its place.
//!
//! An image does not record it, but the order of its inodes determines it: they are listed breadth first by their
//! places (`docs/format/image.md`, "The list of inodes"). The names are visited in that order, beside the inodes in the
//! order of the file: a name that comes up when its inode is next can be its place. If several names can be the place,
//! all others between them are links, and each choice gives the same list; then the first name, depth first, is taken,
//! as the C tools do. Only for a whiteout is the choice visible elsewhere, in the markers of its directory. Stubs are
//! not names of the tree, but take part in the order like others.
//!
//! In an image with another order, such as those of version 2, every place is the first name.

use crate::tree::{EntryId, InodeId, Kind, OrderedBuilder, Tree};

/// The method by which the places of hard-linked inodes were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// No inode has two names.
    NoLinks,
    /// The inodes are in the order of versions 0 and 1.
    BreadthFirst,
    /// The inodes are in another order.
    Other,
}

/// A whiteout of the image's root that is no part of the tree, but has its place in the order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stub {
    pub(super) nid: u32,
    /// The entry it stands before.
    pub(super) before: EntryId,
}

/// A name of the image, as its directories have them one after the other.
#[derive(Clone, Copy, Debug)]
struct NameOfInode {
    nid: u32,
    /// `None` for a stub.
    entry: Option<EntryId>,
}

/// Makes one entry of every inode its place and all others links. `is_right` says whether an entry, if it can be the
/// place, shall be.
pub(super) fn settle(
    builder: &mut OrderedBuilder,
    nids: &[u32],
    stubs: &[Stub],
    is_right: impl Fn(&Tree, EntryId, InodeId) -> bool,
) -> Order {
    let tree = builder.tree();
    let first = first_names(tree);
    let places = find_places(tree, nids, stubs, |entry, last, inode| {
        let first = first[inode.index()];
        let first_will_do = entry < first && first <= last && is_right(tree, first, inode);
        entry == last || is_right(tree, entry, inode) && !first_will_do
    });
    let (places, order) = match places {
        Some(places) => (places, Order::BreadthFirst),
        None => (first, Order::Other),
    };
    for entry in (0..builder.tree().entry_count() as u32).map(EntryId) {
        let inode = builder.tree().target(entry);
        builder.set_target(entry, inode, places[inode.index()] != entry);
    }
    order
}

/// Finds the place of every inode from the order of the file. `choose` is called for every entry that can be the place
/// of an inode, with the last candidate before it. Returns `None` if the inodes are not in the order of places.
fn find_places(
    tree: &Tree,
    nids: &[u32],
    stubs: &[Stub],
    choose: impl Fn(EntryId, EntryId, InodeId) -> bool,
) -> Option<Vec<EntryId>> {
    let names = list_names(tree, nids, stubs);
    let mut order: Vec<u32> = nids.iter().copied().chain(stubs.iter().map(|stub| stub.nid)).collect();
    order.sort_unstable();
    let (root, order) = order.split_first()?;
    if nids.first() != Some(root) {
        return None;
    }
    let mut next = order.iter().zip(last_names(&names, order)?).peekable();
    let mut places = vec![EntryId(0); nids.len()];
    for name in &names {
        let inode = name.entry.map(|entry| (entry, tree.target(entry)));
        let is_place = |last: Option<EntryId>| match (inode, last) {
            (Some((entry, inode)), Some(last)) => choose(entry, last, inode),
            _ => true,
        };
        let placed = next.next_if(|(nid, last)| **nid == name.nid && is_place(*last)).is_some();
        if let Some((entry, inode)) = inode.filter(|_| placed) {
            places[inode.index()] = entry;
        }
    }
    Some(places)
}

fn list_names(tree: &Tree, nids: &[u32], stubs: &[Stub]) -> Vec<NameOfInode> {
    let mut stubs = stubs.iter().peekable();
    let mut names = Vec::with_capacity(tree.entry_count() + stubs.len());
    for entry in (0..tree.entry_count() as u32).map(EntryId) {
        while let Some(stub) = stubs.next_if(|stub| stub.before == entry) {
            names.push(NameOfInode { nid: stub.nid, entry: None });
        }
        names.push(NameOfInode { nid: nids[tree.target(entry).index()], entry: Some(entry) });
    }
    names.extend(stubs.map(|stub| NameOfInode { nid: stub.nid, entry: None }));
    names
}

/// The last entry that can be the place of each of the inodes, `None` for stubs.
fn last_names(names: &[NameOfInode], order: &[u32]) -> Option<Vec<Option<EntryId>>> {
    let mut wanted = order.iter().rev().peekable();
    let backwards = names.iter().rev();
    let mut last: Vec<_> =
        backwards.filter(|name| wanted.next_if(|nid| **nid == name.nid).is_some()).map(|name| name.entry).collect();
    last.reverse();
    wanted.next().is_none().then_some(last)
}

/// The first name of every inode, depth first.
fn first_names(tree: &Tree) -> Vec<EntryId> {
    let mut first = vec![None; tree.inode_count()];
    // Directories that are being gone through, each with its entries yet to come.
    let mut stack = vec![tree.entries_of(InodeId::ROOT)];
    while let Some(entries) = stack.last_mut() {
        let Some(entry) = entries.next().map(EntryId) else {
            stack.pop();
            continue;
        };
        let inode = tree.target(entry);
        first[inode.index()].get_or_insert(entry);
        if tree.inode(inode).kind() == Kind::Directory {
            stack.push(tree.entries_of(inode));
        }
    }
    // The root has no name.
    first.into_iter().map(|entry| entry.unwrap_or(EntryId(0))).collect()
}
