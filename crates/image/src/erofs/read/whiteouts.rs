//! Turns the empty files with attributes that the writer makes of whiteouts back into whiteouts.
//!
//! This is done only where the writer would make the same bytes again: for an empty file with the markers of a
//! whiteout, in a directory with the markers of the format version. A file that only looks similar is left unchanged.

use std::collections::HashMap;

use super::overlay::{OPAQUE_MARKS, PARENT_MARKS, WHITEOUT_MARKS, WhiteoutMarks};
use crate::erofs::format_version::PROFILES;
use crate::tree::{InodeId, Tree};

/// The inodes with marks, and what a directory of whiteouts must have.
#[derive(Debug)]
pub(super) struct Whiteouts {
    marks: HashMap<InodeId, WhiteoutMarks>,
    needed: Option<WhiteoutMarks>,
}

/// Returns the markers that a directory of whiteouts must have; `None` for format versions without this kind of
/// whiteout.
pub(super) fn needed_marks(format_version: u32) -> Option<WhiteoutMarks> {
    let profile = PROFILES.iter().find(|profile| profile.format_version == format_version)?;
    Some(match profile.marks_whiteout_parents_opaque {
        true => PARENT_MARKS.with(OPAQUE_MARKS),
        false => PARENT_MARKS,
    })
}

impl Whiteouts {
    pub(super) fn new(format_version: u32) -> Self {
        Self { marks: HashMap::new(), needed: needed_marks(format_version) }
    }

    /// Takes note of an inode's marks. Those of a whiteout count on empty files only.
    pub(super) fn note(&mut self, inode: InodeId, marks: WhiteoutMarks) {
        if !marks.is_empty() {
            self.marks.insert(inode, marks);
        }
    }

    fn marks(&self, inode: InodeId) -> WhiteoutMarks {
        self.marks.get(&inode).copied().unwrap_or_default()
    }

    /// Returns `true` if the inode is a whiteout, provided that its place is in a directory with the right markers.
    pub(super) fn may_be_whiteout(&self, inode: InodeId) -> bool {
        self.needed.is_some() && self.marks(inode).has_all(WHITEOUT_MARKS)
    }

    /// Returns `true` if a whiteout can have its place in this directory.
    pub(super) fn can_hold(&self, directory: InodeId) -> bool {
        self.needed.is_some_and(|needed| self.marks(directory).has_all(needed))
    }

    /// The whiteouts, and the directories that hold them, of a tree whose places are settled.
    pub(super) fn find(&self, tree: &Tree) -> (Vec<InodeId>, Vec<InodeId>) {
        let mut candidates: Vec<_> = self.marks.keys().copied().filter(|&id| self.may_be_whiteout(id)).collect();
        if candidates.is_empty() {
            return (Vec::new(), Vec::new());
        }
        candidates.sort_unstable();
        let places = tree.places();
        let parent = |&id: &InodeId| places.parent(id).filter(|&directory| self.can_hold(directory));
        candidates.retain(|id| parent(id).is_some());
        let mut directories: Vec<_> = candidates.iter().filter_map(parent).collect();
        directories.sort_unstable();
        directories.dedup();
        (candidates, directories)
    }
}
