//! Both trees, gone through side by side.

use std::cmp::Ordering;
use std::ops::Range;

use super::change::EntryPosition;
use super::hardlinks::Groups;
use super::inodes::InodeComparison;
use super::{Change, Counts, FieldSet, Options};
use crate::tree::{EntryId, InodeId, Kind, Tree};

/// The changes that the walk has found.
#[derive(Debug)]
pub(super) struct FoundEntries {
    pub(super) changes: Vec<Change>,
    pub(super) counts: Counts,
}

/// A directory of either tree or of both, with the entries yet to come.
#[derive(Debug)]
struct OpenDirectories {
    a: Range<u32>,
    b: Range<u32>,
    /// Set if only one of the trees has the directory.
    is_one_sided: bool,
}

/// A merge of two sorted trees, with a level for each directory that is open.
struct Walk<'t> {
    a: &'t Tree,
    b: &'t Tree,
    ignore: FieldSet,
    inodes: InodeComparison<'t>,
    groups: Groups,
    stack: Vec<OpenDirectories>,
    changes: Vec<Change>,
    counts: Counts,
}

/// Compares the trees, or what is below a path.
pub(super) fn walk(a: &Tree, b: &Tree, options: &Options) -> FoundEntries {
    let mut walk = Walk {
        a,
        b,
        ignore: options.ignore,
        inodes: InodeComparison::new(a, b, &options.ignore_xattrs),
        groups: Groups::new(a, b),
        stack: Vec::new(),
        changes: Vec::new(),
        counts: Counts::default(),
    };
    walk.pair(find(a, &options.below), find(b, &options.below), false);
    while let Some(level) = walk.stack.last_mut() {
        let order = match (level.a.is_empty(), level.b.is_empty()) {
            (true, true) => {
                walk.stack.pop();
                continue;
            }
            (false, true) => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, false) => a.entry(EntryId(level.a.start)).name.cmp(b.entry(EntryId(level.b.start)).name),
        };
        let mut of_a = EntryPosition::Nowhere;
        if order.is_le() {
            of_a = level.a.next().map_or(EntryPosition::Nowhere, |entry| EntryPosition::Entry(EntryId(entry)));
        }
        let mut of_b = EntryPosition::Nowhere;
        if order.is_ge() {
            of_b = level.b.next().map_or(EntryPosition::Nowhere, |entry| EntryPosition::Entry(EntryId(entry)));
        }
        let is_within = level.is_one_sided;
        walk.pair(of_a, of_b, is_within);
    }
    let Walk { groups, mut changes, mut counts, inodes, .. } = walk;
    groups.add_to(a, b, options.ignore, &mut changes);
    counts.incomparable = inodes.incomparable;
    changes.iter().for_each(|change| counts.add(change));
    FoundEntries { changes, counts }
}

impl Walk<'_> {
    /// Compares what stands under one path, and opens the directories there.
    fn pair(&mut self, a: EntryPosition, b: EntryPosition, is_within: bool) {
        let inodes = [a.inode(self.a), b.inode(self.b)];
        let index = self.changes.len();
        match inodes {
            [Some(in_a), Some(in_b)] => {
                let fields = self.inodes.compare(in_a, in_b).without(self.ignore);
                self.counts.note_common(self.a.stored(in_a).kind(), self.b.stored(in_b).kind());
                if !fields.is_empty() {
                    self.changes.push(Change { a, b, fields, is_within });
                }
                if let (EntryPosition::Entry(a), EntryPosition::Entry(b)) = (a, b) {
                    self.groups.meet([a, b], [in_a, in_b], index, !fields.is_empty());
                }
            }
            [None, None] => return,
            _ => self.changes.push(Change { a, b, fields: FieldSet::NONE, is_within }),
        }
        let [of_a, of_b] = [(self.a, inodes[0]), (self.b, inodes[1])]
            .map(|(tree, inode)| inode.map_or(0..0, |inode| tree.entries_of(inode)));
        if !of_a.is_empty() || !of_b.is_empty() {
            // Where one side has no directory, the lack of it was told.
            let is_directory = |tree: &Tree, inode: Option<InodeId>| {
                inode.is_some_and(|inode| tree.stored(inode).kind() == Kind::Directory)
            };
            let is_one_sided = !is_directory(self.a, inodes[0]) || !is_directory(self.b, inodes[1]);
            self.stack.push(OpenDirectories { a: of_a, b: of_b, is_one_sided });
        }
    }
}

/// Returns the entry at a path; symlinks are not followed.
fn find(tree: &Tree, path: &[u8]) -> EntryPosition {
    let mut at = EntryPosition::Root;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        let found = at.inode(tree).and_then(|directory| tree.find_entry(directory, name));
        at = found.map_or(EntryPosition::Nowhere, EntryPosition::Entry);
    }
    at
}
