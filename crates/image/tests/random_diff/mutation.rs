//! One change of a model, and what `diff` must find of it.

use std::collections::{BTreeMap, BTreeSet};

use libcomposefs_image::verity;
use libcomposefs_testkit::model::{Model, ModelNode, NodeKind};

/// A change made to a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mutation {
    Type,
    Mode,
    Uid,
    Gid,
    Mtime,
    Size,
    Digest,
    Bytes,
    Storage,
    Payload,
    Target,
    Rdev,
    XattrAdded,
    XattrRemoved,
    XattrChanged,
    Nlink,
    Unlinked,
    Place,
    Added,
    Removed,
    Renamed,
}

pub(crate) const MUTATIONS: [Mutation; 21] = [
    Mutation::Type,
    Mutation::Mode,
    Mutation::Uid,
    Mutation::Gid,
    Mutation::Mtime,
    Mutation::Size,
    Mutation::Digest,
    Mutation::Bytes,
    Mutation::Storage,
    Mutation::Payload,
    Mutation::Target,
    Mutation::Rdev,
    Mutation::XattrAdded,
    Mutation::XattrRemoved,
    Mutation::XattrChanged,
    Mutation::Nlink,
    Mutation::Unlinked,
    Mutation::Place,
    Mutation::Added,
    Mutation::Removed,
    Mutation::Renamed,
];

/// The expected differences at each path, as text.
pub(crate) type Expected = BTreeMap<Vec<u8>, Vec<String>>;

/// Changes a model at a node and says what must be found, if such a change is possible there.
pub(crate) fn mutate(mutation: Mutation, model: &Model, at: usize) -> Option<(Model, Expected)> {
    let is_link = matches!(model.nodes[at].kind, NodeKind::Link(_));
    match mutation {
        Mutation::Unlinked if is_link => Some(unlink(model, at)),
        Mutation::Place if is_link => Some(move_place(model, at)),
        Mutation::Added => add(model, at),
        Mutation::Removed if at > 0 => remove(model, at),
        Mutation::Renamed if at > 0 => rename(model, at),
        _ if is_link => None,
        _ => {
            let mut changed = model.clone();
            let node = &mut changed.nodes[at];
            let found = match mutation {
                Mutation::XattrAdded | Mutation::XattrRemoved | Mutation::XattrChanged => change_xattr(mutation, node),
                _ => change_number(mutation, node).or_else(|| change_data(mutation, model, node)),
            };
            let found = found?;
            let names = names_of(model, at).into_iter();
            Some((changed, names.map(|name| (model.path(name), vec![found.clone()])).collect()))
        }
    }
}

fn change_number(mutation: Mutation, node: &mut ModelNode) -> Option<String> {
    let old = node.clone();
    Some(match mutation {
        Mutation::Mode => {
            node.permissions ^= 0o4001;
            format!("mode: Mode({}) -> Mode({})", old.permissions, node.permissions)
        }
        Mutation::Uid => {
            node.uid ^= 1000;
            format!("uid: Number({}) -> Number({})", old.uid, node.uid)
        }
        Mutation::Gid => {
            node.gid ^= 1 << 20;
            format!("gid: Number({}) -> Number({})", old.gid, node.gid)
        }
        Mutation::Mtime => {
            node.mtime.nsec ^= 1;
            format!("mtime: Time({:?}) -> Time({:?})", old.mtime, node.mtime)
        }
        Mutation::Nlink if node.kind != NodeKind::Directory => {
            node.nlink += 1;
            format!("nlink: Number({}) -> Number({})", old.nlink, node.nlink)
        }
        _ => return None,
    })
}

fn change_xattr(mutation: Mutation, node: &mut ModelNode) -> Option<String> {
    let (name, old, new) = match mutation {
        Mutation::XattrAdded => {
            node.xattrs.insert(b"user.new".to_vec(), b"1".to_vec());
            (b"user.new".to_vec(), None, Some(b"1".to_vec()))
        }
        Mutation::XattrRemoved => {
            let (name, value) = node.xattrs.pop_first()?;
            (name, Some(value), None)
        }
        _ => {
            let (name, value) = node.xattrs.iter_mut().next_back()?;
            let old = value.clone();
            value.push(b'!');
            (name.clone(), Some(old), Some(value.clone()))
        }
    };
    Some(format!("xattr {name:?}: {old:?} -> {new:?}"))
}

fn change_data(mutation: Mutation, model: &Model, node: &mut ModelNode) -> Option<String> {
    Some(match (mutation, &mut node.kind) {
        (Mutation::Type, NodeKind::Special(bits)) => {
            let (old, new) = if *bits == 0o010000 { ("Fifo", "Socket") } else { ("Socket", "Fifo") };
            *bits ^= 0o010000 ^ 0o140000;
            format!("type: Type({old}) -> Type({new})")
        }
        (Mutation::Type, kind @ NodeKind::Symlink(_)) => {
            *kind = NodeKind::Regular { size: 9, content: Some(vec![1; 9]), payload: None, digest: None };
            "type: Type(Symlink) -> Type(Regular)".to_owned()
        }
        (Mutation::Size, NodeKind::Regular { size: size @ 2.., content: None, .. }) => {
            *size -= 1;
            format!("size: Number({}) -> Number({})", *size + 1, *size)
        }
        (Mutation::Digest, NodeKind::Regular { size: 1.., content: None, digest, payload }) => {
            let old = *digest;
            let new = verity::digest(model.algorithm, b"another content");
            if old.is_some_and(|old| payload.as_deref() == Some(old.object_path().as_bytes())) {
                *payload = Some(new.object_path().into_bytes());
            }
            *digest = Some(new);
            format!("content: Content(External({old:?})) -> Content(External({digest:?}))")
        }
        (Mutation::Bytes, NodeKind::Regular { content: Some(content), .. }) => {
            let old = content.clone();
            *content.last_mut()? ^= 1;
            format!("content: Content(Inline({old:?})) -> Content(Inline({content:?}))")
        }
        (Mutation::Storage, NodeKind::Regular { content, payload, digest, .. }) => {
            let bytes = content.take()?;
            let own = verity::digest(model.algorithm, &bytes);
            (*payload, *digest) = (Some(own.object_path().into_bytes()), Some(own));
            format!("storage: Content(Inline({bytes:?})) -> Content(External({digest:?}))")
        }
        (Mutation::Payload, NodeKind::Regular { size: 1.., content: None, payload: Some(payload), .. }) => {
            let old = std::mem::replace(payload, b"some/where".to_vec());
            format!("payload: Path({old:?}) -> Path({payload:?})")
        }
        (Mutation::Target, NodeKind::Symlink(target)) => {
            let old = target.clone();
            target[0] ^= 1;
            format!("target: Path({old:?}) -> Path({target:?})")
        }
        (Mutation::Rdev, NodeKind::Device(_, rdev)) => {
            *rdev ^= 0x103;
            format!("rdev: Device({}) -> Device({})", *rdev ^ 0x103, *rdev)
        }
        _ => return None,
    })
}

/// Makes of a link an inode of its own.
fn unlink(model: &Model, at: usize) -> (Model, Expected) {
    let mut changed = model.clone();
    let ModelNode { parent, name, .. } = model.nodes[at].clone();
    changed.nodes[at] = ModelNode { parent, name, ..model.nodes[model.resolve(at)].clone() };
    let describe = |name| {
        let (old, new) = (names_of(model, name).len(), names_of(&changed, name).len());
        (model.path(name), vec![format!("hardlinks: Names({old}) -> Names({new})")])
    };
    let expected = names_of(model, at).into_iter().map(describe).collect();
    (changed, expected)
}

/// Makes of a link the place of its inode.
fn move_place(model: &Model, at: usize) -> (Model, Expected) {
    let place = model.resolve(at);
    let mut changed = model.clone();
    let ModelNode { parent, name, .. } = model.nodes[at].clone();
    changed.nodes[at] = ModelNode { parent, name, ..model.nodes[place].clone() };
    changed.nodes[place].kind = NodeKind::Link(at);
    let told = |old: bool| vec![format!("place: Place({old}) -> Place({})", !old)];
    (changed, Expected::from([(model.path(place), told(true)), (model.path(at), told(false))]))
}

const NEW_NAME: &[u8] = b"a name that no random tree has";

fn add(model: &Model, at: usize) -> Option<(Model, Expected)> {
    if model.nodes[at].kind != NodeKind::Directory {
        return None;
    }
    let mut changed = model.clone();
    changed.nodes.push(ModelNode { parent: at, name: NEW_NAME.to_vec(), ..model.nodes[0].clone() });
    let path = changed.path(model.nodes.len());
    Some((changed, Expected::from([(path, vec!["only B".to_owned()])])))
}

fn remove(model: &Model, at: usize) -> Option<(Model, Expected)> {
    let gone = below(model, at);
    let stays = |index: &usize| !gone.contains(index);
    let places: Vec<usize> = (0..model.nodes.len()).filter(stays).collect();
    let renumber = |index: usize| places.binary_search(&index).ok();
    let mut changed = model.clone();
    changed.nodes.clear();
    for &index in &places {
        let mut node = model.nodes[index].clone();
        node.parent = renumber(node.parent)?;
        if let NodeKind::Link(target) = &mut node.kind {
            *target = renumber(*target)?;
        }
        changed.nodes.push(node);
    }
    Some((changed, gone.into_iter().map(|index| (model.path(index), vec!["only A".to_owned()])).collect()))
}

/// A rename that is no other change: of something no other name is linked to.
fn rename(model: &Model, at: usize) -> Option<(Model, Expected)> {
    let (_, mut expected) = remove(model, at)?;
    let mut changed = model.clone();
    changed.nodes[at].name = NEW_NAME.to_vec();
    expected.extend(below(model, at).into_iter().map(|index| (changed.path(index), vec!["only B".to_owned()])));
    Some((changed, expected))
}

/// A node and all below it.
fn below(model: &Model, at: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::from([at]);
    for (index, node) in model.nodes.iter().enumerate().skip(at + 1) {
        if found.contains(&node.parent) {
            found.insert(index);
        }
    }
    found
}

/// All names of a node's inode.
fn names_of(model: &Model, at: usize) -> Vec<usize> {
    (0..model.nodes.len()).filter(|index| model.resolve(*index) == model.resolve(at)).collect()
}
