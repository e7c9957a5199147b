//! The attributes that overlayfs is to find on each inode (`docs/format/image.md`, "Overlay attributes").
//!
//! Attributes of the input that overlayfs would take for its own are escaped, whiteouts become files it shows as
//! whiteouts again, and external files get the name and digest of their object. The tree stays as it is: this is a
//! second table of attribute sets beside it.

use std::collections::HashMap;

use super::constants::{METACOPY, OPAQUE, OPAQUE_PARENT, OVERLAY_PREFIX, REDIRECT, WHITEOUT, WHITEOUTS};
use super::error::WriteError;
use super::format_version::WriterProfile;
use super::node::{ImageNode, NodeIndex};
use crate::tree::{
    InodeId, Kind, MAX_XATTRS_TOTAL, SetId, StoredData, StoredInode, StoredPayload, Tree, XATTRS_BASE, Xattr,
    XattrTable, xattr_cost,
};

const SELINUX: &[u8] = b"security.selinux";
/// The attributes of the tree that become those of [`OPAQUE_PARENT`].
const OPAQUE_IN_TREE: [&[u8]; 2] = [OPAQUE, OPAQUE_PARENT[1].as_bytes()];

/// A tree with the attributes its image will have.
#[derive(Debug)]
pub(super) struct Overlay<'t> {
    pub(super) tree: &'t Tree,
    pub(super) profile: &'static WriterProfile,
    pub(super) xattrs: XattrTable,
    /// The image's set for each set of the tree.
    escaped: Vec<SetId>,
    /// Inodes with other attributes than their set in the tree says: the root, whiteouts and their directories.
    exceptions: HashMap<InodeId, SetId>,
    stub: SetId,
    /// Directories whose `opaque=y` gives way to a mark.
    pub(super) lost_opaque: Vec<InodeId>,
    /// The positions of metacopy and redirect in each set, in the order of names.
    pub(super) generated_at: Vec<[u32; 2]>,
}

impl<'t> Overlay<'t> {
    pub(super) fn new(tree: &'t Tree, profile: &'static WriterProfile) -> Result<Self, WriteError> {
        let old = tree.xattr_table();
        let mut xattrs = XattrTable::default();
        let escaped =
            (0..old.set_count()).map(|set| intern(&mut xattrs, &escape(old.iter(SetId(set as u32))))).collect();
        let mut exceptions = HashMap::new();
        let (marked, lost_opaque) = mark_whiteouts(tree, profile)?;
        for (inode, set) in marked {
            exceptions.insert(inode, intern(&mut xattrs, &set.list));
        }
        let root = match exceptions.get(&InodeId::ROOT) {
            Some(set) => owned(xattrs.iter(*set)),
            None => escape(old.iter(tree.stored(InodeId::ROOT).xattrs)),
        };
        let selinux: Vec<_> = root.iter().filter(|(name, _)| name == SELINUX).cloned().collect();
        let stub = intern(&mut xattrs, &selinux);
        if profile.shields_objects {
            let opaque = (OPAQUE.to_vec(), b"y".to_vec());
            exceptions.insert(InodeId::ROOT, intern(&mut xattrs, &[&root[..], &[opaque]].concat()));
        }
        xattrs.sort();
        let find = |set| if profile.object_xattrs_first { [0; 2] } else { find_generated(&xattrs, SetId(set)) };
        let generated_at = (0..xattrs.set_count() as u32).map(find).collect();
        Ok(Self { tree, profile, xattrs, escaped, exceptions, stub, lost_opaque, generated_at })
    }

    /// The set of an inode, without what [`Attr::list`](super::xattr::Attr::list) adds for external files.
    pub(super) fn set_of(&self, node: NodeIndex) -> SetId {
        match node.kind() {
            ImageNode::Stub(_) => self.stub,
            ImageNode::Inode(id) => match self.exceptions.get(&id) {
                Some(set) => *set,
                None => self.escaped[self.tree.stored(id).xattrs.0 as usize],
            },
        }
    }

    /// Returns `true` if an inode is a whiteout that becomes a regular file in the image.
    pub(super) fn converts(&self, inode: &StoredInode) -> bool {
        self.profile.converts_whiteouts && inode.is_whiteout()
    }

    /// Payload and digest of a file whose content lies outside the image.
    pub(super) fn external(&self, node: NodeIndex) -> Option<(StoredPayload, Option<u32>)> {
        let ImageNode::Inode(id) = node.kind() else { return None };
        let inode = self.tree.stored(id);
        match inode.data {
            StoredData::Regular { content, payload, digest } if inode.size > 0 && content.len() == 0 => {
                Some((payload, StoredInode::digest_index(digest)))
            }
            _ => None,
        }
    }
}

type OwnedXattr = (Vec<u8>, Vec<u8>);

fn owned<'a>(xattrs: impl Iterator<Item = Xattr<'a>>) -> Vec<OwnedXattr> {
    xattrs.map(|x| (x.name.to_vec(), x.value.to_vec())).collect()
}

fn intern(xattrs: &mut XattrTable, set: &[OwnedXattr]) -> SetId {
    let set: Vec<_> = set.iter().map(|(name, value)| Xattr { name, value }).collect();
    xattrs.intern_unchecked(&set)
}

/// The attributes of a node with overlayfs's own names escaped by one more `overlay.`.
fn escape<'a>(xattrs: impl Iterator<Item = Xattr<'a>>) -> Vec<OwnedXattr> {
    let escape_name = |name: &[u8]| match name.strip_prefix(OVERLAY_PREFIX) {
        Some(rest) => [OVERLAY_PREFIX, b"overlay.", rest].concat(),
        None => name.to_vec(),
    };
    xattrs.map(|x| (escape_name(x.name), x.value.to_vec())).collect()
}

/// The positions of metacopy and redirect in a sorted set.
fn find_generated(xattrs: &XattrTable, set: SetId) -> [u32; 2] {
    [METACOPY, REDIRECT].map(|name| xattrs.iter(set).filter(|x| x.name < name).count() as u32)
}

/// The attributes of a node that gets whiteout markers.
struct MarkedXattrs {
    list: Vec<OwnedXattr>,
    /// The reference counts an inode's attributes anew, from 0, as it sets markers, and refuses a set that its
    /// unsigned counter says is too large. Followed here, so that the same trees are refused.
    counter: u32,
}

impl MarkedXattrs {
    fn set(&mut self, name: &str, value: &[u8]) -> bool {
        let cost = |value: &[u8]| xattr_cost(name.len(), value.len()) as u32;
        if let Some(index) = self.list.iter().position(|(n, _)| n == name.as_bytes()) {
            let (_, old) = self.list.remove(index);
            self.counter = if self.list.is_empty() { 0 } else { self.counter.wrapping_sub(cost(&old)) };
        }
        let added = cost(value) + if self.list.is_empty() { XATTRS_BASE as u32 } else { 0 };
        self.counter = self.counter.wrapping_add(added);
        self.list.push((name.into(), value.to_vec()));
        self.counter as usize <= MAX_XATTRS_TOTAL
    }
}

/// Returns `true` if overlayfs treats a directory of the tree as opaque.
fn is_opaque(tree: &Tree, directory: InodeId) -> bool {
    let xattrs = tree.xattr_table().iter(tree.stored(directory).xattrs);
    xattrs.into_iter().any(|xattr| OPAQUE_IN_TREE.contains(&xattr.name) && xattr.value == b"y")
}

/// Returns the new attributes of every whiteout and of every directory that holds one, and the directories that lose
/// their opaque attribute thereby.
fn mark_whiteouts(
    tree: &Tree,
    profile: &WriterProfile,
) -> Result<(HashMap<InodeId, MarkedXattrs>, Vec<InodeId>), WriteError> {
    let (mut marked, mut lost_opaque) = (HashMap::<InodeId, MarkedXattrs>::new(), Vec::new());
    if !profile.converts_whiteouts || !tree.has_whiteout() {
        return Ok((marked, lost_opaque));
    }
    let mut mark = |inode: InodeId, name: &'static str, value: &[u8]| {
        let marks = marked.entry(inode).or_insert_with(|| {
            let list = escape(tree.xattr_table().iter(tree.stored(inode).xattrs));
            MarkedXattrs { list, counter: 0 }
        });
        if marks.set(name, value) { Ok(()) } else { Err(WriteError::MarkerShrinks { inode, name }) }
    };
    let directories = (0..tree.inode_count() as u32).map(InodeId);
    for directory in directories.filter(|&id| tree.stored(id).kind() == Kind::Directory) {
        // A whiteout marks the directory of its own place; links to it mark nothing.
        let whiteouts = tree.children(directory).filter(|e| !e.is_link && tree.stored(e.inode).is_whiteout());
        for (index, entry) in whiteouts.enumerate() {
            for name in WHITEOUT {
                mark(entry.inode, name, b"")?;
            }
            // To mark it again changes nothing, and would look through all its attributes for each of its whiteouts.
            if index > 0 {
                continue;
            }
            for name in WHITEOUTS {
                mark(directory, name, b"")?;
            }
            if profile.marks_whiteout_parents_opaque {
                for name in OPAQUE_PARENT {
                    mark(directory, name, b"x")?;
                }
                if is_opaque(tree, directory) {
                    lost_opaque.push(directory);
                }
            }
        }
    }
    Ok((marked, lost_opaque))
}
