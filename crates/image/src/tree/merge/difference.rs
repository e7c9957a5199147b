//! The difference of two trees as a layer of overlayfs: the inverse of merging a tree of that style.

use super::marks::MarkStyle;
use super::whole_tree::with_new_inode;
use crate::tree::{Entry, Inode, InodeId, Kind, NewInode, Tree, TreeBuilder, TreeError, Xattr};

/// The mode of a whiteout: a character device with device number 0.
const WHITEOUT_MODE: u32 = 0o020_000;
/// The attribute of a directory whose entries of lower layers are hidden.
const OPAQUE: Xattr<'static> = Xattr { name: b"trusted.overlay.opaque", value: b"y" };

/// Returns the layer that makes `upper` of `lower`: the tree of all that is new or different, with whiteouts and opaque
/// directories as overlayfs has them ([`MarkStyle::Overlayfs`]).
///
/// A file with several names is in the layer with all its names as soon as one of them, or the file, is not the same in
/// both trees: overlayfs knows no links across layers. The root is never opaque, as overlayfs does not look for
/// that. The link counts of both trees must be right.
///
/// # Errors
///
/// If the layer exceeds a limit of a tree.
pub fn overlay_difference(lower: &Tree, upper: &Tree) -> Result<Tree, TreeError> {
    let compared = Compared::new(lower, upper);
    let root = upper.inode(InodeId::ROOT);
    let mut builder = with_new_inode(&root, MarkStyle::None, |new| TreeBuilder::new(upper.algorithm(), new))?;
    let mut put: Vec<Option<InodeId>> = vec![None; upper.inode_count()];
    let mut stack = vec![(InodeId::ROOT, InodeId::ROOT, compared.below(InodeId::ROOT))];
    while let Some((directory, parent, below)) = stack.pop() {
        for entry in upper.children(directory).filter(|entry| compared.is_needed(entry.inode)) {
            if let Some(target) = put[entry.inode.index()] {
                builder.add_link(parent, entry.name, target)?;
                continue;
            }
            let inode = upper.inode(entry.inode);
            let below = compared.below(entry.inode).filter(|_| inode.kind() == Kind::Directory);
            let is_opaque = below.is_some_and(|below| shares_no_name(lower, below, upper, entry.inode));
            let id = with_new_inode(&inode, MarkStyle::None, |new| {
                let mut xattrs = new.xattrs.to_vec();
                xattrs.extend(is_opaque.then_some(OPAQUE));
                builder.add(parent, entry.name, &NewInode { xattrs: &xattrs, ..*new })
            })?;
            put[entry.inode.index()] = Some(id);
            if inode.kind() == Kind::Directory {
                stack.push((entry.inode, id, below.filter(|_| !is_opaque)));
            }
        }
        for gone in below.into_iter().flat_map(|below| gone(lower, below, upper, directory)) {
            builder.add(parent, gone.name, &NewInode { mode: WHITEOUT_MODE, ..NewInode::default() })?;
        }
    }
    Ok(builder.finish_with_counted_links())
}

/// Lists the entries of a lower directory whose names the upper one does not have.
fn gone<'t>(lower: &'t Tree, below: InodeId, upper: &'t Tree, directory: InodeId) -> impl Iterator<Item = Entry<'t>> {
    lower.children(below).filter(move |entry| upper.child(directory, entry.name).is_none())
}

/// Returns whether a lower directory has entries, and the upper one none of their names.
fn shares_no_name(lower: &Tree, below: InodeId, upper: &Tree, directory: InodeId) -> bool {
    let (all, gone) = (lower.children(below).len(), gone(lower, below, upper, directory).count());
    all > 0 && all == gone
}

/// Which inodes of the upper tree the layer must have.
struct Compared {
    /// For each inode of the upper tree: the inode of the lower tree with the same name.
    below: Vec<Option<InodeId>>,
    is_needed: Vec<bool>,
}

impl Compared {
    fn new(lower: &Tree, upper: &Tree) -> Self {
        let count = upper.inode_count();
        let mut this = Self { below: vec![None; count], is_needed: vec![false; count] };
        let mut is_seen = vec![false; count];
        this.below[InodeId::ROOT.index()] = Some(InodeId::ROOT);
        let mut directories = vec![InodeId::ROOT];
        let mut next = 0;
        while let Some(directory) = directories.get(next).copied() {
            next += 1;
            let below = this.below(directory);
            for entry in upper.children(directory) {
                let found = below.and_then(|below| lower.child(below, entry.name)).map(|entry| entry.inode);
                let inode = upper.inode(entry.inode);
                let index = entry.inode.index();
                let is_first = !std::mem::replace(&mut is_seen[index], true);
                if is_first {
                    let is_same = found.is_some_and(|found| is_same(&lower.inode(found), &inode));
                    let is_directory = |id: &InodeId| lower.inode(*id).kind() == Kind::Directory;
                    this.is_needed[index] = !is_same;
                    this.below[index] = found.filter(|id| inode.kind() != Kind::Directory || is_directory(id));
                } else if this.below[index] != found {
                    this.is_needed[index] = true;
                }
                if inode.kind() == Kind::Directory {
                    directories.push(entry.inode);
                }
            }
        }
        // Those below come after those above, so that each directory is complete when the one above is looked at.
        for directory in directories.into_iter().rev() {
            let has_needed = upper.children(directory).any(|entry| this.is_needed(entry.inode));
            let mut gone = this.below(directory).into_iter().flat_map(|below| gone(lower, below, upper, directory));
            this.is_needed[directory.index()] |= has_needed || gone.next().is_some();
        }
        this
    }

    fn below(&self, inode: InodeId) -> Option<InodeId> {
        self.below[inode.index()]
    }

    fn is_needed(&self, inode: InodeId) -> bool {
        self.is_needed[inode.index()]
    }
}

/// Returns whether two inodes are the same but for the entries of directories.
fn is_same(one: &Inode<'_>, other: &Inode<'_>) -> bool {
    let facts = |inode: &Inode<'_>| {
        let links = if inode.kind() == Kind::Directory { 0 } else { inode.nlink() };
        (inode.mode(), inode.uid(), inode.gid(), inode.rdev(), inode.mtime(), inode.size(), links)
    };
    facts(one) == facts(other) && one.data() == other.data() && one.xattrs().eq(other.xattrs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use crate::dump;
    use crate::tree::{LayerInode, Layers};

    fn directory() -> NewInode<'static> {
        NewInode { mode: 0o40755, ..NewInode::default() }
    }

    fn file(content: &'static [u8]) -> NewInode<'static> {
        NewInode { mode: 0o100_644, size: content.len() as u64, content: Some(content), ..NewInode::default() }
    }

    fn merged(lower: &Tree, difference: &Tree) -> Tree {
        let mut layers = Layers::new(Algorithm::Sha256, &directory()).unwrap();
        layers.merge(lower, MarkStyle::None).unwrap();
        layers.merge(difference, MarkStyle::Overlayfs).unwrap();
        layers.finish().unwrap()
    }

    fn text(tree: &Tree) -> String {
        let mut text = Vec::new();
        dump::emit(tree, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    /// Makes changes that numbers choose: few names in few directories, so that they meet.
    fn change(layers: &mut Layers, state: &mut u32, steps: u32) {
        let mut next = |below: u32| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (*state >> 16) % below
        };
        for _ in 0..steps {
            let names: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
            let mut at = LayerInode::ROOT;
            for _ in 0..next(3) {
                let name = names[next(4) as usize];
                at = match layers.find(at, name) {
                    Some(found) if layers.is_directory(found) => found,
                    _ => layers.put(at, name, &directory()).unwrap(),
                };
            }
            let name = names[next(4) as usize];
            match next(6) {
                0 => _ = layers.put(at, name, &file(b"one")).unwrap(),
                1 => _ = layers.put(at, name, &file(b"two")).unwrap(),
                2 => _ = layers.put(at, name, &NewInode { mode: 0o40700, ..NewInode::default() }).unwrap(),
                3 => _ = layers.whiteout(at, name),
                4 => layers.opaque(at),
                _ => {
                    let target = layers.find(LayerInode::ROOT, b"a").filter(|found| !layers.is_directory(*found));
                    if let Some(target) = target {
                        layers.link(at, name, target).unwrap();
                    }
                }
            }
        }
    }

    #[test]
    fn merging_the_difference_gives_the_upper_tree() {
        let (mut state, mut marks) = (1, 0);
        for _ in 0..300 {
            let mut layers = Layers::new(Algorithm::Sha256, &directory()).unwrap();
            change(&mut layers, &mut state, 30);
            let lower = layers.clone().finish().unwrap();
            layers.next_layer();
            change(&mut layers, &mut state, 8);
            let upper = layers.finish().unwrap();
            let difference = overlay_difference(&lower, &upper).unwrap();
            assert_eq!(text(&merged(&lower, &difference)), text(&upper), "{}\n{}", text(&lower), text(&difference));
            marks += usize::from(difference.has_whiteout());
        }
        assert!(marks > 50, "{marks}");
    }

    #[test]
    fn what_is_the_same_is_left_out() {
        let mut layers = Layers::new(Algorithm::Sha256, &directory()).unwrap();
        let deep = layers.put(LayerInode::ROOT, b"deep", &directory()).unwrap();
        let same = layers.put(deep, b"same", &file(b"one")).unwrap();
        layers.put(LayerInode::ROOT, b"other", &file(b"two")).unwrap();
        let lower = layers.clone().finish().unwrap();
        let none = overlay_difference(&lower, &lower).unwrap();
        assert_eq!(none.inode_count(), 1, "{}", text(&none));
        // A further name changes the link count of the file, which overlayfs takes from the layer that has it.
        layers.link(LayerInode::ROOT, b"link", same).unwrap();
        let linked = overlay_difference(&lower, &layers.finish().unwrap()).unwrap();
        let text = text(&linked);
        assert!(text.contains("/deep/same") && text.contains("/link") && !text.contains("/other"), "{text}");
    }
}
