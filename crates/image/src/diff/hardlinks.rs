//! Hard links: which names share one inode, in one tree and in the other.

use super::change::EntryPosition;
use super::order::Partners;
use super::{Change, Field, FieldSet};
use crate::tree::{EntryId, InodeId, Tree};

/// The number of names of each inode of a tree. Empty if no inode has more than one.
#[derive(Debug)]
struct NameCounts(Vec<u32>);

impl NameCounts {
    fn of(tree: &Tree) -> Self {
        let mut counts = Vec::new();
        if tree.has_links() {
            counts.resize(tree.inode_count(), 0);
            (0..tree.entry_count() as u32).for_each(|entry| counts[tree.target(EntryId(entry)).index()] += 1);
        }
        Self(counts)
    }

    fn get(&self, inode: InodeId) -> u32 {
        self.0.get(inode.index()).copied().unwrap_or(1)
    }
}

/// A name of both trees that is not the only one of its inode, in one of them at least.
#[derive(Clone, Copy, Debug)]
struct SharedName {
    entries: [EntryId; 2],
    inodes: [InodeId; 2],
    /// The number of changes before this name.
    index: usize,
    /// Set if the change at that index is of this name.
    has_change: bool,
}

/// Gathers the names of inodes that have several, then says where the two trees group them differently.
///
/// Only names that both trees have count: that a name is missing is a change of its own.
#[derive(Debug)]
pub(super) struct Groups {
    counts: [NameCounts; 2],
    /// Nothing if no tree has hard links.
    partners: Option<Partners>,
    names: Vec<SharedName>,
}

impl Groups {
    pub(super) fn new(a: &Tree, b: &Tree) -> Self {
        let counts = [NameCounts::of(a), NameCounts::of(b)];
        let has_links = counts.iter().any(|counts| !counts.0.is_empty());
        let partners = has_links.then(|| Partners::new(a, b));
        Self { counts, partners, names: Vec::new() }
    }

    /// Records a name that both trees have. `index` is the number of changes found so far, `has_change` is set if the
    /// next one is of this name.
    pub(super) fn meet(&mut self, entries: [EntryId; 2], inodes: [InodeId; 2], index: usize, has_change: bool) {
        let Some(partners) = &mut self.partners else { return };
        partners.meet(inodes);
        if (0..2).any(|side| self.counts[side].get(inodes[side]) > 1) {
            self.names.push(SharedName { entries, inodes, index, has_change });
        }
    }

    /// Adds to the changes where the groups differ, or the places within the same group.
    pub(super) fn add_to(self, a: &Tree, b: &Tree, ignore: FieldSet, changes: &mut Vec<Change>) {
        let Some(partners) = &self.partners else { return };
        let mut met = [a, b].map(|tree| vec![0u32; tree.inode_count()]);
        for name in &self.names {
            (0..2).for_each(|side| met[side][name.inodes[side].index()] += 1);
        }
        let is_moved = |name: &SharedName| a.entry(name.entries[0]).is_link != b.entry(name.entries[1]).is_link;
        let some_moved = self.names.iter().any(is_moved);
        let shows = some_moved && !partners.have_one_order(a, b);
        let shows_of_whiteouts = shows || some_moved && !partners.have_one_home_of_whiteouts(a, b);
        let mut added = Vec::new();
        for name in &self.names {
            let are_all_met = (0..2).all(|side| {
                let inode = name.inodes[side];
                met[side][inode.index()] == self.counts[side].get(inode)
            });
            let shows = if a.stored(name.inodes[0]).is_whiteout() { shows_of_whiteouts } else { shows };
            let field = match partners.are_one_group(name.inodes) {
                false => Field::Links,
                true if are_all_met && shows && is_moved(name) => Field::Place,
                true => continue,
            };
            if ignore.contains(field) {
                continue;
            }
            if name.has_change {
                changes[name.index].fields.insert(field);
            } else {
                let [a, b] = name.entries.map(EntryPosition::Entry);
                added.push((name.index, Change { a, b, fields: FieldSet::from_iter([field]), is_within: false }));
            }
        }
        insert_all(changes, added);
    }
}

/// Inserts each change before the one that has its index.
fn insert_all(changes: &mut Vec<Change>, added: Vec<(usize, Change)>) {
    if added.is_empty() {
        return;
    }
    let before = std::mem::take(changes);
    changes.reserve(before.len() + added.len());
    let mut added = added.into_iter().peekable();
    for (index, change) in before.into_iter().enumerate() {
        while let Some((_, change)) = added.next_if(|(at, _)| *at <= index) {
            changes.push(change);
        }
        changes.push(change);
    }
    changes.extend(added.map(|(_, change)| change));
}

/// All names of the inodes that have several, by inode.
#[derive(Clone, Debug)]
pub(super) struct LinkNames(Vec<(InodeId, EntryId)>);

impl LinkNames {
    pub(super) fn of(tree: &Tree) -> Self {
        let counts = NameCounts::of(tree);
        if counts.0.is_empty() {
            return Self(Vec::new());
        }
        let entries = (0..tree.entry_count() as u32).map(EntryId).map(|entry| (tree.target(entry), entry));
        let mut names: Vec<_> = entries.filter(|(inode, _)| counts.get(*inode) > 1).collect();
        names.sort_unstable();
        Self(names)
    }

    /// The entries of an inode that has several; none if it has one.
    pub(super) fn get(&self, inode: InodeId) -> impl ExactSizeIterator<Item = EntryId> {
        let start = self.0.partition_point(|(other, _)| *other < inode);
        let end = self.0.partition_point(|(other, _)| *other <= inode);
        self.0[start..end].iter().map(|(_, entry)| *entry)
    }
}
