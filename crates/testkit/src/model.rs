//! A tree as plain data: builds the real tree, writes a dump, and checks a real tree against itself. `random` makes
//! random models.
//!
//! The model knows nothing of arenas, interning or sorting, and writes its dump by itself: what it has in common with
//! the tree model is only what both say about a file system.

use std::collections::BTreeMap;

use libcomposefs_image::Digest;
use libcomposefs_image::digest::Algorithm;
use libcomposefs_image::tree::{Data, InodeId, NewInode, Timestamp, Tree, TreeBuilder, Xattr};

/// The type of a node, with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory with its members.
    Directory,
    /// A regular file, inline or external.
    Regular {
        /// The size in bytes.
        size: u64,
        /// Content in the image.
        content: Option<Vec<u8>>,
        /// Path of the object.
        payload: Option<Vec<u8>>,
        /// Digest of the content.
        digest: Option<Digest>,
    },
    /// A symlink and its target.
    Symlink(Vec<u8>),
    /// A device: type bits and device number.
    Device(u32, u32),
    /// A FIFO or socket: its type bits.
    Special(u32),
    /// A hard link to another node, by its index.
    Link(usize),
}

/// A node. Node 0 is the root; a parent comes before its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelNode {
    /// Index of the parent.
    pub parent: usize,
    /// Name in the parent.
    pub name: Vec<u8>,
    /// The type and the content of the node.
    pub kind: NodeKind,
    /// The permission bits of the mode.
    pub permissions: u32,
    /// The number of hard links.
    pub nlink: u32,
    /// The user ID of the owner.
    pub uid: u32,
    /// The group ID of the owner.
    pub gid: u32,
    /// The time of modification.
    pub mtime: Timestamp,
    /// The extended attributes, by name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A tree as a map of its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The algorithm of its digests.
    pub algorithm: Algorithm,
    /// Its nodes, the root first.
    pub nodes: Vec<ModelNode>,
}

impl ModelNode {
    fn mode(&self) -> u32 {
        self.permissions
            | match self.kind {
                NodeKind::Directory => 0o040000,
                NodeKind::Regular { .. } => 0o100000,
                NodeKind::Symlink(_) => 0o120000,
                NodeKind::Device(bits, _) | NodeKind::Special(bits) => bits,
                NodeKind::Link(_) => 0,
            }
    }

    fn size(&self) -> u64 {
        match &self.kind {
            NodeKind::Regular { size, .. } => *size,
            NodeKind::Symlink(target) => target.len() as u64,
            _ => 0,
        }
    }

    fn with_new_inode<T>(&self, take: impl FnOnce(&NewInode<'_>) -> T) -> T {
        let xattrs: Vec<_> = self.xattrs.iter().map(|(name, value)| Xattr { name, value }).collect();
        let mut inode = NewInode {
            mode: self.mode(),
            size: self.size(),
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            xattrs: &xattrs,
            ..NewInode::default()
        };
        match &self.kind {
            NodeKind::Regular { content, payload, digest, .. } => {
                inode.content = content.as_deref();
                inode.payload = payload.as_deref();
                inode.digest = *digest;
            }
            NodeKind::Symlink(target) => inode.payload = Some(target),
            NodeKind::Device(_, rdev) => inode.rdev = *rdev,
            NodeKind::Directory | NodeKind::Special(_) | NodeKind::Link(_) => {}
        }
        take(&inode)
    }
}

impl Model {
    /// The path of a node, from `/`.
    #[must_use]
    pub fn path(&self, index: usize) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = index;
        while at != 0 {
            names.push(&self.nodes[at].name[..]);
            at = self.nodes[at].parent;
        }
        if names.is_empty() {
            return b"/".to_vec();
        }
        names.iter().rev().flat_map(|name| [&b"/"[..], name].concat()).collect()
    }

    /// Follows links to the node that has an inode.
    #[must_use]
    pub fn resolve(&self, mut index: usize) -> usize {
        while let NodeKind::Link(target) = self.nodes[index].kind {
            index = target;
        }
        index
    }

    /// The tree, through the builder.
    ///
    /// # Panics
    ///
    /// If the builder refuses what the model holds.
    #[must_use]
    pub fn build(&self) -> Tree {
        let root = self.nodes[0].with_new_inode(|inode| TreeBuilder::new(self.algorithm, inode));
        let mut builder = root.expect("a root");
        let mut ids = vec![InodeId::ROOT; self.nodes.len()];
        let is_link = |node: &ModelNode| matches!(node.kind, NodeKind::Link(_));
        for (index, node) in self.nodes.iter().enumerate().skip(1).filter(|(_, node)| !is_link(node)) {
            let parent = ids[node.parent];
            let added = node.with_new_inode(|inode| builder.add(parent, &node.name, inode));
            ids[index] = added.unwrap_or_else(|e| panic!("{node:?}: {e}"));
        }
        for (index, node) in self.nodes.iter().enumerate().filter(|(_, node)| is_link(node)) {
            builder.add_link(ids[node.parent], &node.name, ids[self.resolve(index)]).expect("a link");
        }
        builder.finish()
    }

    /// The tree as a dump, written in the order of the nodes.
    #[must_use]
    pub fn dump(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let target = match node.kind {
                NodeKind::Link(target) => Some(self.path(target)),
                _ => None,
            };
            let inode = &self.nodes[self.resolve(index)];
            let (rdev, payload, content, digest) = match &inode.kind {
                NodeKind::Regular { content, payload, digest, .. } => (0, payload.clone(), content.clone(), *digest),
                NodeKind::Symlink(target) => (0, Some(target.clone()), None, None),
                NodeKind::Device(_, rdev) => (*rdev, None, None, None),
                _ => (0, None, None, None),
            };
            text.extend(escape_all(&self.path(index)));
            let (sec, nsec) = (inode.mtime.sec, inode.mtime.nsec);
            let mark = if target.is_some() { "@" } else { "" };
            let fixed = [
                inode.size().to_string(),
                format!("{mark}{:o}", inode.mode()),
                inode.nlink.to_string(),
                inode.uid.to_string(),
                inode.gid.to_string(),
                rdev.to_string(),
                format!("{sec}.{nsec}"),
            ];
            text.extend(format!(" {}", fixed.join(" ")).into_bytes());
            for field in [target.or(payload), content] {
                text.push(b' ');
                text.extend(field.map_or(b"-".to_vec(), |f| escape_all(&f)));
            }
            text.extend(format!(" {}", digest.map_or("-".to_owned(), |d| d.to_hex())).into_bytes());
            for (name, value) in inode.xattrs.iter() {
                text.push(b' ');
                text.extend(escape_all(name));
                text.push(b'=');
                text.extend(escape_all(value));
            }
            text.push(b'\n');
        }
        text
    }

    /// Compares a tree with the model, node by node.
    pub fn check(&self, tree: &Tree) -> Result<(), String> {
        let links = self.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Link(_))).count();
        if tree.inode_count() + links != self.nodes.len() || tree.entry_count() + 1 != self.nodes.len() {
            return Err(format!("{} inodes, {} entries for {self:#?}", tree.inode_count(), tree.entry_count()));
        }
        let mut ids = vec![InodeId::ROOT; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            let path = String::from_utf8_lossy(&self.path(index)).into_owned();
            if index > 0 {
                let entry = tree.child(ids[node.parent], &node.name).ok_or_else(|| format!("{path} is missing"))?;
                ids[index] = entry.inode;
                if entry.is_link != matches!(node.kind, NodeKind::Link(_)) {
                    return Err(format!("{path}: is_link {}", entry.is_link));
                }
            }
            let want = &self.nodes[self.resolve(index)];
            let got = tree.inode(ids[index]);
            let xattrs: BTreeMap<_, _> = got.xattrs().map(|x| (x.name.to_vec(), x.value.to_vec())).collect();
            let meta = (got.mode(), got.uid(), got.gid(), got.nlink(), got.mtime());
            if meta != (want.mode(), want.uid, want.gid, want.nlink, want.mtime) || xattrs != want.xattrs {
                return Err(format!("{path}: {got:?} is not {want:?}"));
            }
            let data_is_right = match (&want.kind, got.data()) {
                (NodeKind::Directory, Data::Directory) | (NodeKind::Special(_), Data::Special) => true,
                (NodeKind::Device(_, rdev), Data::Special) => got.rdev() == *rdev,
                (NodeKind::Symlink(target), Data::Symlink(found)) => target == found,
                (
                    NodeKind::Regular { size, content, payload, digest },
                    Data::Regular { content: found_content, payload: found_payload, digest: found_digest },
                ) => {
                    got.size() == *size
                        && found_content == content.as_deref()
                        && found_payload.as_deref() == payload.as_deref()
                        && found_digest == *digest
                }
                _ => false,
            };
            if !data_is_right {
                return Err(format!("{path}: {:?} is not {:?}", got.data(), want.kind));
            }
        }
        Ok(())
    }
}

/// Every byte that is not a letter, digit or slash escaped: the parser may not depend on which ones are.
fn escape_all(bytes: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' => vec![*byte],
        _ => format!("\\x{byte:02x}").into_bytes(),
    };
    bytes.iter().flat_map(escape).collect()
}
