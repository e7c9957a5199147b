//! The rules of layers, one by one, and against a model that keeps paths in a map.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::tree::{Data, Timestamp, Xattr};

fn directory(uid: u32) -> NewInode<'static> {
    NewInode { mode: 0o40755, uid, ..NewInode::default() }
}

fn file(uid: u32) -> NewInode<'static> {
    NewInode { mode: 0o100644, uid, ..NewInode::default() }
}

fn layers() -> Layers {
    Layers::new(Algorithm::Sha256, &directory(0)).expect("a root")
}

/// Returns the paths of a tree, each with the inode's owner and number of names.
fn listing(tree: &Tree) -> Vec<(String, u32, u32)> {
    let mut walk = tree.depth_first();
    let mut paths = Vec::new();
    while let Some((path, entry)) = walk.step() {
        let inode = tree.inode(entry.inode);
        let names = if inode.kind() == Kind::Directory { 1 } else { inode.nlink() };
        paths.push((String::from_utf8_lossy(path).into_owned(), inode.uid(), names));
    }
    paths
}

fn paths(layers: Layers) -> Vec<String> {
    let tree = layers.finish().expect("a tree");
    listing(&tree).into_iter().map(|(path, ..)| path).collect()
}

#[test]
fn a_directory_on_a_directory_takes_the_new_metadata_and_keeps_its_entries() {
    let mut layers = layers();
    let old = [Xattr { name: b"user.old", value: b"1" }];
    let etc = layers.put(LayerInode::ROOT, b"etc", &NewInode { xattrs: &old, ..directory(1) }).unwrap();
    layers.put(etc, b"passwd", &file(2)).unwrap();
    layers.next_layer();
    let mtime = Timestamp { sec: 7, nsec: 8 };
    let again = layers.put(LayerInode::ROOT, b"etc", &NewInode { mtime, mode: 0o40700, ..directory(3) }).unwrap();
    assert_eq!(again, etc);
    let tree = layers.finish().unwrap();
    assert_eq!(listing(&tree), [("/etc".to_owned(), 3, 1), ("/etc/passwd".to_owned(), 2, 1)]);
    let etc = tree.inode(tree.child(InodeId::ROOT, b"etc").unwrap().inode);
    assert_eq!((etc.mode(), etc.mtime(), etc.xattrs().len()), (0o40700, mtime, 0));
}

#[test]
fn a_file_replaces_a_directory_with_all_below_it_and_back() {
    let mut layers = layers();
    let a = layers.put(LayerInode::ROOT, b"a", &directory(0)).unwrap();
    layers.put(a, b"b", &file(0)).unwrap();
    layers.next_layer();
    layers.put(LayerInode::ROOT, b"a", &file(1)).unwrap();
    layers.next_layer();
    let a = layers.put(LayerInode::ROOT, b"a", &directory(2)).unwrap();
    assert_eq!(layers.find(a, b"b"), None);
    layers.put(a, b"c", &file(3)).unwrap();
    assert_eq!(paths(layers), ["/a", "/a/c"]);
}

#[test]
fn a_replaced_name_leaves_the_other_hard_links_as_they_are() {
    let mut layers = layers();
    let old = layers.put(LayerInode::ROOT, b"a", &file(1)).unwrap();
    layers.link(LayerInode::ROOT, b"b", old).unwrap();
    layers.next_layer();
    // A link to an inode of a lower layer.
    layers.link(LayerInode::ROOT, b"c", old).unwrap();
    layers.put(LayerInode::ROOT, b"a", &file(2)).unwrap();
    let tree = layers.finish().unwrap();
    let expected = [("/a".to_owned(), 2, 1), ("/b".to_owned(), 1, 2), ("/c".to_owned(), 1, 2)];
    assert_eq!(listing(&tree), expected);
}

#[test]
fn a_link_may_name_the_entry_that_it_replaces() {
    let mut layers = layers();
    let a = layers.put(LayerInode::ROOT, b"a", &file(1)).unwrap();
    layers.link(LayerInode::ROOT, b"a", a).unwrap();
    assert_eq!(listing(&layers.finish().unwrap()), [("/a".to_owned(), 1, 1)]);
}

#[test]
fn a_whiteout_removes_a_subtree_and_says_which_layer_made_it() {
    let mut layers = layers();
    let a = layers.put(LayerInode::ROOT, b"a", &directory(0)).unwrap();
    layers.put(a, b"b", &file(0)).unwrap();
    layers.next_layer();
    assert_eq!(layers.whiteout(LayerInode::ROOT, b"missing"), None);
    assert_eq!(layers.whiteout(LayerInode::ROOT, b"a"), Some(0));
    layers.put(LayerInode::ROOT, b"x", &file(0)).unwrap();
    assert_eq!(layers.whiteout(LayerInode::ROOT, b"x"), Some(1));
    let a = layers.put(LayerInode::ROOT, b"a", &directory(0)).unwrap();
    layers.put(a, b"new", &file(0)).unwrap();
    assert_eq!(paths(layers), ["/a", "/a/new"]);
}

#[test]
fn an_opaque_mark_hides_lower_layers_at_any_depth_whatever_its_position() {
    for mark_first in [true, false] {
        let mut layers = layers();
        let a = layers.put(LayerInode::ROOT, b"a", &directory(0)).unwrap();
        let b = layers.put(a, b"b", &directory(0)).unwrap();
        layers.put(b, b"old", &file(0)).unwrap();
        layers.put(a, b"old", &file(0)).unwrap();
        layers.next_layer();
        if mark_first {
            layers.opaque(a);
        }
        let b = layers.put(a, b"b", &directory(1)).unwrap();
        layers.put(b, b"new", &file(0)).unwrap();
        if !mark_first {
            layers.opaque(a);
            layers.opaque(a);
        }
        assert_eq!(paths(layers), ["/a", "/a/b", "/a/b/new"], "mark first: {mark_first}");
    }
}

#[test]
fn an_opaque_mark_keeps_a_directory_that_leads_to_an_entry_of_its_layer() {
    let mut layers = layers();
    let a = layers.put(LayerInode::ROOT, b"a", &directory(0)).unwrap();
    let b = layers.put(a, b"b", &directory(0)).unwrap();
    layers.put(a, b"old", &file(0)).unwrap();
    layers.next_layer();
    layers.put(b, b"new", &file(0)).unwrap();
    layers.opaque(LayerInode::ROOT);
    assert_eq!(paths(layers), ["/a", "/a/b", "/a/b/new"]);
}

#[test]
fn clear_removes_entries_of_the_same_layer_too() {
    let mut layers = layers();
    let a = layers.put(LayerInode::ROOT, b"a", &directory(0)).unwrap();
    layers.put(a, b"b", &file(0)).unwrap();
    layers.clear(a);
    assert_eq!(paths(layers), ["/a"]);
}

#[test]
fn what_a_tree_cannot_have_is_refused() {
    let mut layers = layers();
    let a = layers.put(LayerInode::ROOT, b"a", &file(0)).unwrap();
    let d = layers.put(LayerInode::ROOT, b"d", &directory(0)).unwrap();
    assert_eq!(layers.put(a, b"x", &file(0)), Err(TreeError::ParentNotDirectory));
    assert_eq!(layers.link(LayerInode::ROOT, b"x", d), Err(TreeError::LinkToDirectory));
    assert!(matches!(layers.put(d, b"..", &file(0)), Err(TreeError::Name(_))));
    assert_eq!(layers.set_root(&file(0)), Err(TreeError::ParentNotDirectory));
    assert_eq!(paths(layers), ["/a", "/d"]);
}

#[test]
fn names_of_oci_marks() {
    let of = LayerMark::of_oci_name;
    assert_eq!(of(b".wh.name"), LayerMark::Whiteout(b"name"));
    assert_eq!(of(b".wh..hidden"), LayerMark::Whiteout(b".hidden"));
    assert_eq!(of(b".wh..wh..opq"), LayerMark::Opaque);
    for ignored in [&b".wh."[..], b".wh..", b".wh...", b".wh..wh.plnk", b".wh..wh.aufs"] {
        assert_eq!(of(ignored), LayerMark::Ignored, "{ignored:?}");
    }
    assert_eq!(of(b".whx"), LayerMark::None);
}

/// Returns a tree of the paths: `d` and an owner for directories, `f` for files, `w` for a device 0/0, `o` for a
/// directory that is opaque for overlayfs.
fn tree(entries: &[(&str, char, u32)]) -> Tree {
    let opaque = [Xattr { name: b"trusted.overlay.opaque", value: b"y" }];
    let mut layers = layers();
    for (path, kind, uid) in entries {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = parent.split('/').filter(|name| !name.is_empty());
        let parent = parent.fold(LayerInode::ROOT, |at, name| layers.find(at, name.as_bytes()).unwrap());
        let inode = match kind {
            'd' => directory(*uid),
            'o' => NewInode { xattrs: &opaque, ..directory(*uid) },
            'w' => NewInode { mode: 0o20000, ..NewInode::default() },
            _ => file(*uid),
        };
        layers.put(parent, name.as_bytes(), &inode).unwrap();
    }
    layers.finish().unwrap()
}

const LOWER: [(&str, char, u32); 5] =
    [("/a", 'd', 1), ("/a/x", 'f', 1), ("/a/y", 'f', 1), ("/b", 'd', 1), ("/b/z", 'f', 1)];

#[test]
fn a_tree_with_overlayfs_marks_is_merged() {
    let mut layers = layers();
    layers.merge(&tree(&LOWER), MarkStyle::None).unwrap();
    let upper = [("/a", 'd', 2), ("/a/x", 'w', 0), ("/b", 'o', 2), ("/b/new", 'f', 2)];
    layers.merge(&tree(&upper), MarkStyle::Overlayfs).unwrap();
    let merged = layers.finish().unwrap();
    let found: Vec<_> = listing(&merged).into_iter().map(|(path, uid, _)| (path, uid)).collect();
    let expected = [("/a", 2), ("/a/y", 1), ("/b", 2), ("/b/new", 2)].map(|(path, uid)| (path.to_owned(), uid));
    assert_eq!(found, expected);
    let b = merged.inode(merged.child(InodeId::ROOT, b"b").unwrap().inode);
    assert_eq!(b.xattrs().len(), 0, "the opaque attribute is a mark");
}

#[test]
fn a_tree_with_oci_marks_is_merged_and_a_device_is_kept() {
    let mut layers = layers();
    layers.merge(&tree(&LOWER), MarkStyle::Oci).unwrap();
    let upper = [("/a", 'd', 2), ("/a/.wh.x", 'f', 0), ("/b", 'd', 2), ("/b/.wh..wh..opq", 'f', 0), ("/b/z", 'w', 0)];
    layers.merge(&tree(&upper), MarkStyle::Oci).unwrap();
    let merged = layers.finish().unwrap();
    let found: Vec<_> = listing(&merged).into_iter().map(|(path, ..)| path).collect();
    assert_eq!(found, ["/a", "/a/y", "/b", "/b/z"]);
    assert!(merged.has_whiteout());
}

#[test]
fn a_merged_tree_keeps_contents_payloads_and_links() {
    let digest = crate::verity::digest(Algorithm::Sha256, b"content");
    let mut lower = layers();
    let object = NewInode { is_object: true, size: 100, digest: Some(digest), ..file(1) };
    let a = lower.put(LayerInode::ROOT, b"a", &object).unwrap();
    lower.link(LayerInode::ROOT, b"b", a).unwrap();
    lower.put(LayerInode::ROOT, b"c", &NewInode { size: 3, content: Some(b"abc"), ..file(1) }).unwrap();
    lower.put(LayerInode::ROOT, b"d", &NewInode { mode: 0o120777, payload: Some(b"to"), ..file(1) }).unwrap();
    let lower = lower.finish().unwrap();
    let mut layers = layers();
    layers.merge(&lower, MarkStyle::Oci).unwrap();
    let merged = layers.finish().unwrap();
    assert_eq!(listing(&merged), listing(&lower));
    for name in [&b"a"[..], b"b", b"c", b"d"] {
        let data = |tree: &Tree| format!("{:?}", tree.inode(tree.child(InodeId::ROOT, name).unwrap().inode).data());
        assert_eq!(data(&merged), data(&lower));
    }
    let a = merged.inode(merged.child(InodeId::ROOT, b"a").unwrap().inode);
    let Data::Regular { payload, .. } = a.data() else { panic!("a regular file") };
    assert_eq!(payload.as_deref(), Some(digest.object_path().as_bytes()));
}

/// One operation on the tree, with paths of the names `a` to `c`.
#[derive(Clone, Debug)]
enum Operation {
    NextLayer,
    Put(Vec<u8>, bool),
    Link(Vec<u8>, Vec<u8>),
    Whiteout(Vec<u8>),
    Opaque(Vec<u8>),
    Clear(Vec<u8>),
}

fn operation() -> impl Strategy<Value = Operation> {
    let path = || vec(b'a'..=b'c', 1..4);
    let any_path = || vec(b'a'..=b'c', 0..4);
    prop_oneof![
        2 => Just(Operation::NextLayer),
        8 => (path(), any::<bool>()).prop_map(|(path, is_directory)| Operation::Put(path, is_directory)),
        3 => (path(), path()).prop_map(|(path, target)| Operation::Link(path, target)),
        2 => path().prop_map(Operation::Whiteout),
        2 => any_path().prop_map(Operation::Opaque),
        1 => any_path().prop_map(Operation::Clear),
    ]
}

/// An entry of the model.
#[derive(Clone, Copy, Debug)]
struct ModelEntry {
    /// The number of the inode: two names of one inode have the same.
    inode: u32,
    uid: u32,
    is_directory: bool,
    layer: u32,
    touched: u32,
}

/// A tree as its paths. A path is the names of one byte each.
#[derive(Debug, Default)]
struct PathModel {
    entries: BTreeMap<Vec<u8>, ModelEntry>,
    layer: u32,
}

impl PathModel {
    fn has_directory(&self, path: &[u8]) -> bool {
        path.is_empty() || self.entries.get(path).is_some_and(|entry| entry.is_directory)
    }

    fn remove(&mut self, path: &[u8]) {
        self.entries.retain(|other, _| !other.starts_with(path));
    }

    fn set(&mut self, path: &[u8], inode: u32, uid: u32, is_directory: bool) {
        self.remove(path);
        let layer = self.layer;
        self.entries.insert(path.to_vec(), ModelEntry { inode, uid, is_directory, layer, touched: layer });
    }

    fn touch_parents(&mut self, path: &[u8]) {
        for len in 1..path.len() {
            self.entries.get_mut(&path[..len]).unwrap().touched = self.layer;
        }
    }

    fn opaque(&mut self, path: &[u8]) {
        let layer = self.layer;
        let is_own = |entry: &ModelEntry| entry.layer == layer || entry.is_directory && entry.touched == layer;
        let is_below = |other: &[u8]| other.len() > path.len() && other.starts_with(path);
        let old: Vec<_> = self.entries.iter().filter(|(other, entry)| is_below(other) && !is_own(entry)).collect();
        for path in old.into_iter().map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.remove(&path);
        }
    }

    fn listing(&self) -> Vec<(String, u32, u32)> {
        let names = |inode| self.entries.values().filter(|entry| entry.inode == inode).count() as u32;
        let path = |path: &[u8]| path.iter().map(|name| format!("/{}", char::from(*name))).collect();
        self.entries.iter().map(|(of, entry)| (path(of), entry.uid, names(entry.inode))).collect()
    }
}

/// Applies an operation to both, if the tree can have it.
fn apply(layers: &mut Layers, model: &mut PathModel, operation: &Operation, number: u32) {
    let find =
        |layers: &Layers, path: &[u8]| path.iter().try_fold(LayerInode::ROOT, |at, name| layers.find(at, &[*name]));
    match operation {
        Operation::NextLayer => {
            layers.next_layer();
            model.layer += 1;
        }
        Operation::Put(path, is_directory) => {
            let (name, parent) = path.split_last().unwrap();
            let new = if *is_directory { directory(number) } else { file(number) };
            if !model.has_directory(parent) {
                return;
            }
            layers.put(find(layers, parent).unwrap(), &[*name], &new).unwrap();
            if *is_directory && model.has_directory(path) {
                let layer = model.layer;
                let entry = model.entries.get_mut(path).unwrap();
                (entry.uid, entry.layer) = (number, layer);
            } else {
                model.set(path, number, number, *is_directory);
            }
            model.touch_parents(path);
        }
        Operation::Link(path, target) => {
            let (name, parent) = path.split_last().unwrap();
            let Some(entry) = model.entries.get(target).copied().filter(|entry| !entry.is_directory) else { return };
            if !model.has_directory(parent) {
                return;
            }
            let target = find(layers, target).unwrap();
            layers.link(find(layers, parent).unwrap(), &[*name], target).unwrap();
            model.set(path, entry.inode, entry.uid, false);
            model.touch_parents(path);
        }
        Operation::Whiteout(path) => {
            let (name, parent) = path.split_last().unwrap();
            if model.has_directory(parent) {
                let layer = layers.whiteout(find(layers, parent).unwrap(), &[*name]);
                assert_eq!(layer, model.entries.get(path).map(|entry| entry.layer));
                model.remove(path);
            }
        }
        Operation::Opaque(path) if model.has_directory(path) => {
            layers.opaque(find(layers, path).unwrap());
            model.opaque(path);
        }
        Operation::Clear(path) if model.has_directory(path) => {
            layers.clear(find(layers, path).unwrap());
            model.entries.retain(|other, _| other == path || !other.starts_with(path));
        }
        Operation::Opaque(_) | Operation::Clear(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn layers_are_as_a_map_of_paths_says(operations in vec(operation(), 0..60)) {
        let (mut layers, mut model) = (layers(), PathModel::default());
        for (number, operation) in (1..).zip(&operations) {
            apply(&mut layers, &mut model, operation, number);
        }
        prop_assert_eq!(listing(&layers.finish().unwrap()), model.listing());
    }
}
