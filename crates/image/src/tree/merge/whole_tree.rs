//! Applies a whole tree as a layer, and makes the merged tree.

use hashbrown::HashTable;

use super::marks::{LayerMark, MarkStyle, is_mark, is_overlay_opaque};
use super::{LayerInode, Layers, REMOVED};
use crate::tree::{Data, EntryId, Inode, InodeId, Kind, NewInode, Tree, TreeBuilder, TreeError, Xattr};

impl Layers {
    /// Applies a tree as the next layer, as if its entries were put one after the other, depth first. In each
    /// directory the marks come first, so that they remove only entries of lower layers. Hard links within `upper` are
    /// hard links of the result.
    ///
    /// # Errors
    ///
    /// If the digests of `upper` are of another algorithm, or the result has too many inodes.
    pub fn merge(&mut self, upper: &Tree, marks: MarkStyle) -> Result<(), TreeError> {
        self.next_layer();
        let mut ids = vec![REMOVED; upper.inode_count()];
        let mut links = Vec::new();
        let root = upper.inode(InodeId::ROOT);
        with_new_inode(&root, marks, |root| self.set_root(root))?;
        let mut stack = vec![(InodeId::ROOT, LayerInode::ROOT)];
        while let Some((from, to)) = stack.pop() {
            self.apply_marks(upper, from, to, marks);
            for number in upper.entries_of(from) {
                let entry = upper.entry(EntryId(number));
                let inode = upper.inode(entry.inode);
                if is_mark(&inode, entry.name, marks) {
                    continue;
                }
                if entry.is_link {
                    links.push((to, entry));
                    continue;
                }
                let put = with_new_inode(&inode, marks, |new| self.put(to, entry.name, new))?;
                ids[entry.inode.index()] = put.0;
                if inode.kind() == Kind::Directory {
                    stack.push((entry.inode, put));
                }
            }
        }
        for (directory, entry) in links {
            match ids[entry.inode.index()] {
                // The first name of the inode is a mark, so the link is the first name that is put.
                REMOVED => {
                    let inode = upper.inode(entry.inode);
                    let put = with_new_inode(&inode, marks, |new| self.put(directory, entry.name, new))?;
                    ids[entry.inode.index()] = put.0;
                }
                target => self.link(directory, entry.name, LayerInode(target))?,
            }
        }
        Ok(())
    }

    fn apply_marks(&mut self, upper: &Tree, from: InodeId, to: LayerInode, marks: MarkStyle) {
        if marks == MarkStyle::Overlayfs && upper.inode(from).xattrs().any(|xattr| is_overlay_opaque(&xattr)) {
            self.opaque(to);
        }
        for number in upper.entries_of(from) {
            let entry = upper.entry(EntryId(number));
            match marks {
                MarkStyle::None => return,
                MarkStyle::Oci => match LayerMark::of_oci_name(entry.name) {
                    LayerMark::Whiteout(name) => _ = self.whiteout(to, name),
                    LayerMark::Opaque => self.opaque(to),
                    LayerMark::None | LayerMark::Ignored => {}
                },
                MarkStyle::Overlayfs if upper.stored(entry.inode).is_whiteout() => _ = self.whiteout(to, entry.name),
                MarkStyle::Overlayfs => {}
            }
        }
    }

    /// Returns the merged tree. Each inode's link count is the number of its names; inodes without a name are dropped.
    ///
    /// # Errors
    ///
    /// If the tree has too many entries.
    pub fn finish(mut self) -> Result<Tree, TreeError> {
        self.table = HashTable::new();
        let root = self.arena.inode(self.nodes[0].stored);
        let mut builder =
            with_new_inode(&root, MarkStyle::None, |root| TreeBuilder::new(self.arena.algorithm(), root))?;
        let mut ids: Vec<Option<InodeId>> = vec![None; self.nodes.len()];
        let mut stack = vec![(0u32, InodeId::ROOT)];
        while let Some((directory, parent)) = stack.pop() {
            let mut next = self.nodes[directory as usize].last;
            while let Some(entry) = self.entries.get(next as usize) {
                next = entry.previous;
                if entry.inode == REMOVED {
                    continue;
                }
                let node = self.nodes[entry.inode as usize];
                if let Some(target) = ids[entry.inode as usize] {
                    builder.add_link(parent, self.name(entry), target)?;
                    continue;
                }
                let stored = self.arena.inode(node.stored);
                let id = with_new_inode(&stored, MarkStyle::None, |new| builder.add(parent, self.name(entry), new))?;
                ids[entry.inode as usize] = Some(id);
                if node.is_directory {
                    stack.push((entry.inode, id));
                }
            }
        }
        Ok(builder.finish_with_counted_links())
    }
}

/// Calls `use_it` with an inode of a tree as one to be added to another tree.
pub(super) fn with_new_inode<T>(inode: &Inode<'_>, marks: MarkStyle, use_it: impl FnOnce(&NewInode<'_>) -> T) -> T {
    let drops = |xattr: &Xattr<'_>| {
        marks == MarkStyle::Overlayfs && inode.kind() == Kind::Directory && is_overlay_opaque(xattr)
    };
    let xattrs: Vec<_> = inode.xattrs().filter(|xattr| !drops(xattr)).collect();
    let data = inode.data();
    let (payload, content, digest) = match &data {
        Data::Symlink(target) => (Some(*target), None, None),
        Data::Regular { content, payload, digest } => (payload.as_deref(), *content, *digest),
        Data::Directory | Data::Special => (None, None, None),
    };
    use_it(&NewInode {
        mode: inode.mode(),
        size: inode.size(),
        nlink: inode.nlink(),
        uid: inode.uid(),
        gid: inode.gid(),
        rdev: inode.rdev(),
        mtime: inode.mtime(),
        payload,
        is_object: false,
        content,
        digest,
        xattrs: &xattrs,
    })
}
