//! Changes of a finished tree: owners, times, attributes, and entries that are removed.

use super::xattrs::XattrError;
use super::{InodeId, Kind, LINK_BIT, SetId, StoredData, Timestamp, Tree, Xattr, XattrTable};

/// A tree that is being changed.
///
/// Each operation looks at every inode once, whatever it changes.
#[derive(Debug)]
pub struct TreeEditor {
    tree: Tree,
}

/// An attribute with its own name and value.
pub type ChangedXattr = (Vec<u8>, Vec<u8>);

/// Inodes of a tree that an operation applies to.
#[derive(Clone, Debug)]
pub struct InodeSelection {
    /// Set for the inodes that are selected; `None` selects all.
    selected: Option<Vec<bool>>,
}

impl InodeSelection {
    /// Selects every inode.
    pub const ALL: InodeSelection = InodeSelection { selected: None };

    /// Returns `true` if an inode is selected.
    #[must_use]
    pub fn has(&self, inode: InodeId) -> bool {
        self.selected.as_ref().is_none_or(|selected| selected[inode.index()])
    }
}

impl TreeEditor {
    /// Begins to change a tree.
    #[must_use]
    pub fn new(tree: Tree) -> Self {
        Self { tree }
    }

    /// Returns the tree as it is now.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Returns the changed tree.
    #[must_use]
    pub fn finish(self) -> Tree {
        self.tree
    }

    /// Returns the inode at a path, of which each part is a name; symlinks are not followed. Empty parts are ignored.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<InodeId> {
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        names.try_fold(InodeId::ROOT, |at, name| Some(self.tree.child(at, name)?.inode))
    }

    /// Selects an inode and everything below it, files with further names elsewhere included.
    #[must_use]
    pub fn select_below(&self, inode: InodeId) -> InodeSelection {
        let mut selected = vec![false; self.tree.inode_count()];
        let mut stack = vec![inode];
        while let Some(inode) = stack.pop() {
            selected[inode.index()] = true;
            stack.extend(self.tree.children(inode).filter(|entry| !entry.is_link).map(|entry| entry.inode));
            for link in self.tree.children(inode).filter(|entry| entry.is_link) {
                selected[link.inode.index()] = true;
            }
        }
        InodeSelection { selected: Some(selected) }
    }

    /// Gives inodes the owner and group that a function returns for theirs.
    ///
    /// # Errors
    ///
    /// The first error of the function, with the inode.
    pub fn change_owners<E>(
        &mut self,
        selection: &InodeSelection,
        mut change: impl FnMut(u32, u32) -> Result<(u32, u32), E>,
    ) -> Result<(), (InodeId, E)> {
        for (index, stored) in self.tree.inodes.iter_mut().enumerate() {
            let id = InodeId(index as u32);
            if selection.has(id) {
                (stored.uid, stored.gid) = change(stored.uid, stored.gid).map_err(|error| (id, error))?;
            }
        }
        Ok(())
    }

    /// Gives inodes the time of last modification that a function returns for theirs.
    pub fn change_times(&mut self, mut change: impl FnMut(Timestamp) -> Timestamp) {
        for stored in &mut self.tree.inodes {
            let Timestamp { sec, nsec } = change(stored.mtime());
            (stored.mtime_sec, stored.mtime_nsec) = (sec, nsec);
        }
    }

    /// Gives inodes the attributes that a function returns for theirs. It is called once for each set.
    ///
    /// # Errors
    ///
    /// The first error of the function, or of a set that breaks a limit, with an inode that has the set.
    pub fn change_xattrs<E: From<XattrError>>(
        &mut self,
        selection: &InodeSelection,
        mut change: impl FnMut(&[Xattr<'_>]) -> Result<Vec<ChangedXattr>, E>,
    ) -> Result<(), (InodeId, E)> {
        let Tree { xattrs: old, inodes, .. } = &mut self.tree;
        let mut new = XattrTable::default();
        let mut kept: Vec<Option<SetId>> = vec![None; old.set_count()];
        let mut changed = kept.clone();
        for (index, stored) in inodes.iter_mut().enumerate() {
            let id = InodeId(index as u32);
            let known = if selection.has(id) { &mut changed } else { &mut kept };
            let known = &mut known[stored.xattrs.0 as usize];
            if let Some(set) = known {
                stored.xattrs = *set;
                continue;
            }
            let own: Vec<Xattr<'_>> = old.iter(stored.xattrs).collect();
            let set = if selection.has(id) {
                let result = change(&own).map_err(|error| (id, error))?;
                let result: Vec<_> = result.iter().map(|(name, value)| Xattr { name, value }).collect();
                new.intern(&result).map_err(|error| (id, error.into()))?
            } else {
                new.intern_unchecked(&own)
            };
            *known = Some(set);
            stored.xattrs = set;
        }
        new.sort();
        *old = new;
        Ok(())
    }

    /// Removes entries with everything below them. Of a file with several names, the others stay. Link counts become
    /// the number of names.
    pub fn remove(&mut self, removed: &[(InodeId, Vec<u8>)]) {
        let tree = &mut self.tree;
        let mut is_removed = vec![false; tree.entries.len()];
        for (directory, name) in removed {
            if let Some(entry) = tree.find_entry(*directory, name) {
                is_removed[entry.0 as usize] = true;
            }
        }
        let mut ids: Vec<Option<u32>> = vec![None; tree.inodes.len()];
        ids[0] = Some(0);
        let (mut inodes, mut entries, mut directories) = (vec![tree.inodes[0]], Vec::new(), vec![InodeId::ROOT]);
        let mut next = 0;
        while let Some(&directory) = directories.get(next) {
            next += 1;
            let parent = InodeId(ids[directory.index()].expect("a directory has a number before its entries"));
            let first = entries.len() as u32;
            for number in tree.entries_of(directory).filter(|number| !is_removed[*number as usize]) {
                let mut entry = tree.entries[number as usize];
                let old = entry.id();
                let is_first = ids[old.index()].is_none();
                let new = *ids[old.index()].get_or_insert(inodes.len() as u32);
                if is_first {
                    inodes.push(tree.inodes[old.index()]);
                    if tree.inodes[old.index()].kind() == Kind::Directory {
                        directories.push(old);
                    }
                }
                entry.parent = parent;
                entry.inode = if is_first { new } else { new | LINK_BIT };
                entries.push(entry);
            }
            let count = entries.len() as u32 - first;
            if let StoredData::Directory { start, len, parent: above } = &mut inodes[parent.index()].data {
                (*start, *len) = (first, count);
                *above = InodeId(ids[above.index()].unwrap_or(0));
            }
        }
        (tree.inodes, tree.entries) = (inodes, entries);
        tree.count_links();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::{self, Parser};

    fn editor(lines: &[&str]) -> TreeEditor {
        let mut parser = Parser::new(dump::Options::default());
        parser.push_line(b"/ 0 40755 2 0 0 0 1.0 - - -").unwrap();
        lines.iter().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
        TreeEditor::new(parser.finish().unwrap().tree)
    }

    fn text(editor: TreeEditor) -> String {
        let mut text = Vec::new();
        dump::emit(&editor.finish(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    const LINES: [&str; 5] = [
        "/a 0 40755 2 5 6 0 1.0 - - - user.x=1",
        "/a/f 1 100644 3 0 0 0 9.0 - x -",
        "/b 0 40755 2 0 0 0 1.0 - - -",
        "/b/g 1 @100644 3 0 0 0 9.0 /a/f x -",
        "/c 1 @100644 3 0 0 0 9.0 /a/f x -",
    ];

    #[test]
    fn a_removed_directory_leaves_the_other_names_of_its_files() {
        let mut editor = editor(&LINES);
        editor.remove(&[(InodeId::ROOT, b"a".to_vec())]);
        let text = text(editor);
        assert!(!text.contains("/a"), "{text}");
        assert!(text.contains("/b/g 1 100644 2 ") && text.contains("/c 1 @100644 2 0 0 0 9.0 /b/g"), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn owners_below_a_path_include_files_with_names_elsewhere() {
        let mut editor = editor(&LINES);
        let below = editor.select_below(editor.find(b"/b").unwrap());
        editor.change_owners(&below, |_, _| Ok::<_, ()>((7, 8))).unwrap();
        let text = text(editor);
        let owned: Vec<_> = text.lines().filter(|line| line.contains(" 7 8 ")).map(|line| &line[..4]).collect();
        assert_eq!(owned, ["/a/f", "/b 0", "/b/g", "/c 1"], "{text}");
        assert!(text.contains("/a 0 40755 2 5 6 0 "), "{text}");
    }

    #[test]
    fn attributes_change_where_they_are_selected() {
        let mut editor = editor(&LINES);
        let below = editor.select_below(editor.find(b"c").unwrap());
        let add = |own: &[Xattr<'_>]| {
            let mut all: Vec<ChangedXattr> = own.iter().map(|x| (x.name.to_vec(), x.value.to_vec())).collect();
            all.push((b"user.new".to_vec(), b"2".to_vec()));
            Ok::<_, XattrError>(all)
        };
        editor.change_xattrs(&below, add).unwrap();
        let text = text(editor);
        // One inode with three names.
        assert_eq!(text.matches("user.new=2").count(), 3, "{text}");
        assert!(text.contains("/a 0 40755 2 5 6 0 1.0 - - - user.x=1"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("/a/f ") && line.ends_with(" user.new=2")), "{text}");
    }

    #[test]
    fn a_set_that_is_too_large_is_refused_with_its_inode() {
        let mut editor = editor(&LINES);
        let large = |_: &[Xattr<'_>]| Ok::<_, XattrError>(vec![(b"user.x".to_vec(), vec![0; 40_000])]);
        let (inode, error) = editor.change_xattrs(&InodeSelection::ALL, large).unwrap_err();
        assert_eq!((inode, matches!(error, XattrError::Total { .. })), (InodeId::ROOT, true));
    }
}
