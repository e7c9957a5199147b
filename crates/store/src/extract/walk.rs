//! Walking down the selected part of a tree, always in the same order.

use libcomposefs_image::tree::{InodeId, Kind, Tree};

use super::selection::{Scope, Selection};

/// One step of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkStep<'t> {
    /// Enters a directory inside the current one.
    Enter { name: &'t [u8], directory: InodeId },
    /// Passes an entry that is not a directory.
    Entry { name: &'t [u8], inode: InodeId },
    /// Leaves the current directory.
    Leave,
}

/// Iterator over the steps through the selected part, which ends after leaving the root.
#[derive(Clone, Debug)]
pub(super) struct SelectionWalk<'t> {
    tree: &'t Tree,
    selection: &'t Selection,
    stack: Vec<Frame>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    directory: InodeId,
    /// Index of the next entry.
    next: usize,
    scope: Scope,
}

impl<'t> SelectionWalk<'t> {
    pub(super) fn new(tree: &'t Tree, selection: &'t Selection) -> Self {
        let root = Frame { directory: InodeId::ROOT, next: 0, scope: selection.scope_of_root() };
        Self { tree, selection, stack: vec![root] }
    }

    /// Skips the entries of the directory that was just entered: the next step leaves it.
    pub(super) fn leave_out(&mut self) {
        if let Some(frame) = self.stack.last_mut() {
            frame.next = usize::MAX;
        }
    }
}

impl<'t> Iterator for SelectionWalk<'t> {
    type Item = WalkStep<'t>;

    fn next(&mut self) -> Option<WalkStep<'t>> {
        loop {
            let Self { tree, selection, stack } = self;
            let frame = stack.last_mut()?;
            let Some(entry) = tree.children(frame.directory).nth(frame.next) else {
                stack.pop();
                return Some(WalkStep::Leave);
            };
            frame.next += 1;
            let Some(scope) = selection.scope(frame.directory, frame.scope, entry.name) else { continue };
            let (name, inode) = (entry.name, entry.inode);
            if tree.inode(inode).kind() != Kind::Directory {
                return Some(WalkStep::Entry { name, inode });
            }
            stack.push(Frame { directory: inode, next: 0, scope });
            return Some(WalkStep::Enter { name, directory: inode });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libcomposefs_image::Algorithm;
    use libcomposefs_image::tree::{NewInode, TreeBuilder};

    #[test]
    fn paths_come_with_those_above_and_all_below() {
        let directory = NewInode { mode: 0o040755, ..NewInode::default() };
        let file = NewInode { mode: 0o100644, ..directory };
        let mut builder = TreeBuilder::new(Algorithm::Sha256, &directory).unwrap();
        let a = builder.add(InodeId::ROOT, b"a", &directory).unwrap();
        let b = builder.add(a, b"b", &directory).unwrap();
        builder.add(a, b"f", &file).unwrap();
        builder.add(b, b"g", &file).unwrap();
        builder.add(InodeId::ROOT, b"h", &file).unwrap();
        let tree = builder.finish();
        let way = |paths: &[&[u8]]| {
            let selection = Selection::of_paths(&tree, paths).unwrap();
            let text = |step| match step {
                WalkStep::Enter { name, .. } => format!("{}/ ", String::from_utf8_lossy(name)),
                WalkStep::Entry { name, .. } => format!("{} ", String::from_utf8_lossy(name)),
                WalkStep::Leave => ".. ".to_owned(),
            };
            SelectionWalk::new(&tree, &selection).map(text).collect::<String>()
        };
        assert_eq!(way(&[]), "a/ b/ g .. f .. h .. ");
        assert_eq!(way(&[b"/"]), way(&[]));
        assert_eq!(way(&[b"a/b", b"/h"]), "a/ b/ g .. .. h .. ");
        assert_eq!(way(&[b"a/f"]), "a/ f .. .. ");
        assert_eq!(way(&[b"a/f", b"a"]), "a/ b/ g .. f .. .. ");
        for wrong in [&b"x"[..], b"a/f/x", b"h/", b"a/..", b"b"] {
            let is_wrong = Selection::of_paths(&tree, &[wrong]).is_err();
            assert_eq!(is_wrong, wrong != b"h/", "{wrong:?}");
        }
        let selection = Selection::all();
        let mut walk = SelectionWalk::new(&tree, &selection);
        walk.next();
        walk.leave_out();
        assert_eq!(walk.next(), Some(WalkStep::Leave));
        assert!(matches!(walk.next(), Some(WalkStep::Entry { name: b"h", .. })));
    }
}
