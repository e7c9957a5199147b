//! Counting the size of a commit's tree before it is built.
//!
//! Objects refer to each other, so a few small ones can represent a tree with 2^60 entries, and one set of xattrs as
//! many copies of it. Each distinct object is counted once, children before parents; nothing is expanded for that.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::error::Error;
use crate::id::Id;
use crate::limits::{ALWAYS, MAX_ENTRIES, TIMES};
use crate::objects::{DirTree, FileHeader, Metadata};

/// Bytes counted for an entry, besides its name.
const ENTRY: u64 = 64;
/// Bytes counted for an xattr, besides its name and value.
const ATTRIBUTE: u64 = 16;

/// The size of a part of a tree, including everything below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreeSize {
    pub(crate) entries: u64,
    /// Bytes of names, xattrs and targets, and [`ENTRY`] for each entry. Saturates at the maximum.
    pub(crate) bytes: u64,
}

impl TreeSize {
    /// Counts a directory, without itself: its files, and its subdirectories as counted before. Headers of contents
    /// are counted later ([`of_header`]), when they were read.
    ///
    /// Returns `None` if a subdirectory was not counted.
    pub(crate) fn of(
        tree: &DirTree,
        below: &HashMap<Id, TreeSize>,
        mut metadata: impl FnMut(&Id) -> u64,
    ) -> Option<TreeSize> {
        let mut all = TreeSize::default();
        tree.files.iter().for_each(|(name, _)| all.add_entry(name));
        for (name, tree, meta) in &tree.directories {
            all.add_entry(name);
            all.bytes = all.bytes.saturating_add(metadata(meta));
            let below = below.get(tree)?;
            all.entries = all.entries.saturating_add(below.entries);
            all.bytes = all.bytes.saturating_add(below.bytes);
        }
        Some(all)
    }

    fn add_entry(&mut self, name: &str) {
        self.entries = self.entries.saturating_add(1);
        self.bytes = self.bytes.saturating_add(ENTRY + name.len() as u64);
    }

    /// Fails if the tree is too large for the bytes of objects that were read.
    pub(crate) fn expect_allowed(self, read: u64, path: impl FnOnce() -> PathBuf) -> Result<(), Error> {
        if self.entries > MAX_ENTRIES {
            return Err(Error::TooManyEntries { path: path(), entries: self.entries, limit: MAX_ENTRIES });
        }
        let limit = read.saturating_mul(TIMES).saturating_add(ALWAYS);
        if self.bytes > limit {
            return Err(Error::TooLarge { path: path(), bytes: self.bytes, read, limit });
        }
        Ok(())
    }
}

/// Returns the bytes counted for the xattrs of an entry.
pub(crate) fn of_metadata(metadata: &Metadata) -> u64 {
    metadata.xattrs.iter().map(|(name, value)| ATTRIBUTE + (name.len() + value.len()) as u64).sum()
}

/// Returns the bytes counted for the xattrs and target of a content, in each place where it occurs.
pub(crate) fn of_header(header: &FileHeader) -> u64 {
    of_metadata(&header.metadata) + header.target.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(entries: u64, bytes: u64, read: u64) -> bool {
        TreeSize { entries, bytes }.expect_allowed(read, PathBuf::new).is_ok()
    }

    #[test]
    fn large_commits_are_allowed() {
        // Two million files with names of 60 bytes: in dirtrees each takes its name, a NUL, a checksum and two
        // offsets.
        let (files, name) = (2_000_000, 60);
        assert!(allows(files, files * (ENTRY + name), files * (name + 1 + 32 + 8)));
        // A hundred thousand files, and all of them in twelve places.
        assert!(allows(1_200_000, 1_200_000 * (ENTRY + 20), 100_000 * (20 + 1 + 32 + 2)));
        // Any small tree, whatever its objects.
        assert!(allows(100_000, 100_000 * (ENTRY + 20), 1000));
    }

    #[test]
    fn the_limits_are_exact() {
        assert!(allows(MAX_ENTRIES, ALWAYS, 0) && !allows(MAX_ENTRIES + 1, ALWAYS, 0));
        assert!(!allows(1, ALWAYS + 1, 0));
        assert!(allows(1, ALWAYS + 7 * TIMES, 7) && !allows(1, ALWAYS + 7 * TIMES + 1, 7));
        assert!(allows(1, u64::MAX, u64::MAX));
    }

    #[test]
    fn subdirectories_count_in_each_place() {
        let id = |byte| Id::new([byte; 32]);
        let leaf = DirTree { files: vec![("abc".into(), id(1))], directories: Vec::new() };
        let mut known = HashMap::new();
        known.insert(id(2), TreeSize::of(&leaf, &known, |_| 0).unwrap());
        let one = TreeSize { entries: 1, bytes: ENTRY + 3 };
        assert_eq!(known[&id(2)], one);
        let names = ["a", "b"].map(|name| (name.into(), id(2), id(3)));
        let tree = DirTree { files: Vec::new(), directories: names.to_vec() };
        let two = TreeSize { entries: 4, bytes: 2 * (one.bytes + ENTRY + 1 + 100) };
        assert_eq!(TreeSize::of(&tree, &known, |_| 100), Some(two));
        assert_eq!(TreeSize::of(&tree, &HashMap::new(), |_| 0), None);
    }
}
