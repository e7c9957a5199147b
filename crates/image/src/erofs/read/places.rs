//! Which of its names is the place of an inode with hard links.
//!
//! An image does not say, but the order of its inodes does: they are listed breadth first by their places
//! (`docs/format/image.md`, "The list of inodes"). So the names are gone through in that order beside the inodes in the
//! order of the file: a name that comes up when its inode is next can be its place. Where several names in a row could,
//! all others between them are links, and each choice gives the same list; only of a whiteout the place shows elsewhere,
//! in the marks of its directory. Stubs are no names of the tree, but stand in the order like others.
//!
//! In an image that is in another order, as those of version 2 are, the first name is the place, depth first.

use crate::tree::{EntryId, InodeId, Kind, OrderedBuilder, Tree};

/// How the places of hard-linked inodes were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// No inode has two names.
    NoLinks,
    /// The inodes are in the order of versions 0 and 1.
    BreadthFirst,
    /// They are not.
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
struct Name {
    nid: u32,
    /// `None` for a stub.
    entry: Option<EntryId>,
}

/// Makes one entry of every inode its place and all others links. Where there is a choice, the first entry that
/// `is_right` is taken.
pub(super) fn settle(
    builder: &mut OrderedBuilder,
    nids: &[u32],
    stubs: &[Stub],
    is_right: impl Fn(&Tree, EntryId, InodeId) -> bool,
) -> Order {
    let names = list_names(builder.tree(), nids, stubs);
    let mut order: Vec<u32> = nids.iter().copied().chain(stubs.iter().map(|stub| stub.nid)).collect();
    order.sort_unstable();
    let (Some((root, order)), Some(last)) = (order.split_first(), last_places(&names, &order)) else {
        first_names(builder, nids.len());
        return Order::Other;
    };
    if nids.first() != Some(root) {
        first_names(builder, nids.len());
        return Order::Other;
    }
    let mut next = order.iter().zip(last).peekable();
    for (index, name) in names.iter().enumerate() {
        let Some(entry) = name.entry else {
            next.next_if(|(nid, _)| **nid == name.nid);
            continue;
        };
        let inode = builder.tree().target(entry);
        let fits = |last: usize| last == index || is_right(builder.tree(), entry, inode);
        let is_place = next.next_if(|(nid, last)| **nid == name.nid && fits(*last)).is_some();
        builder.set_target(entry, inode, !is_place);
    }
    Order::BreadthFirst
}

fn list_names(tree: &Tree, nids: &[u32], stubs: &[Stub]) -> Vec<Name> {
    let mut stubs = stubs.iter().peekable();
    let mut names = Vec::with_capacity(tree.entry_count() + stubs.len());
    for entry in (0..tree.entry_count() as u32).map(EntryId) {
        while let Some(stub) = stubs.next_if(|stub| stub.before == entry) {
            names.push(Name { nid: stub.nid, entry: None });
        }
        names.push(Name { nid: nids[tree.target(entry).index()], entry: Some(entry) });
    }
    names.extend(stubs.map(|stub| Name { nid: stub.nid, entry: None }));
    names
}

/// The last name that can be the place of each inode but the root, by its index; `None` if the inodes are in no order of
/// places.
fn last_places(names: &[Name], order: &[u32]) -> Option<Vec<usize>> {
    let mut wanted = order.get(1..)?.iter().rev().peekable();
    let backwards = names.iter().enumerate().rev();
    let mut last: Vec<_> = backwards
        .filter(|(_, name)| wanted.next_if(|nid| **nid == name.nid).is_some())
        .map(|(index, _)| index)
        .collect();
    last.reverse();
    wanted.next().is_none().then_some(last)
}

/// Makes the first name of every inode its place, depth first.
fn first_names(builder: &mut OrderedBuilder, inodes: usize) {
    let mut met = vec![false; inodes];
    // Directories that are being gone through, each with its entries yet to come.
    let mut stack = vec![builder.tree().entries_of(InodeId::ROOT)];
    while let Some(entries) = stack.last_mut() {
        let Some(entry) = entries.next().map(EntryId) else {
            stack.pop();
            continue;
        };
        let inode = builder.tree().target(entry);
        let again = std::mem::replace(&mut met[inode.index()], true);
        builder.set_target(entry, inode, again);
        if builder.tree().inode(inode).kind() == Kind::Directory {
            stack.push(builder.tree().entries_of(inode));
        }
    }
}
