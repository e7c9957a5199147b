//! The content of directories: chunks of one block, each with its dirents before their names.

use std::iter::Peekable;

use super::constants::{BLOCK, MAX_TAIL};
use super::node::{ImageNode, NodeIndex, stub_name, stubs_of};
use super::overlay::Overlay;
use super::superblock::field;
use crate::tree::{InodeId, Kind};

/// Length of a [`Dirent`] in bytes.
pub(super) const DIRENT_LEN: u64 = 12;

/// The fixed-size record of a name (`struct erofs_dirent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dirent {
    pub(super) nid: u64,
    /// The offset of the name in the chunk.
    pub(super) name_offset: u16,
    pub(super) file_type: u8,
}

impl Dirent {
    fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.nid.to_le_bytes());
        out.extend_from_slice(&self.name_offset.to_le_bytes());
        out.extend_from_slice(&[self.file_type, 0]);
    }

    pub(super) fn parse(bytes: &[u8; DIRENT_LEN as usize]) -> Self {
        Self {
            nid: u64::from_le_bytes(field(bytes, 0)),
            name_offset: u16::from_le_bytes(field(bytes, 8)),
            file_type: bytes[10],
        }
    }
}

/// The inode that a dirent points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberTarget {
    /// The directory itself: `.`
    Itself,
    /// The directory it lies in: `..`
    Parent,
    /// A node whose place is here.
    Place(NodeIndex),
    /// A node whose place is elsewhere: a hard link.
    Link(NodeIndex),
}

/// A member of a directory as the image has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    pub(super) name: MemberName<'a>,
    pub(super) target: MemberTarget,
}

/// A name of the tree or of a stub.
#[derive(Clone, Copy, Debug)]
pub(super) enum MemberName<'a> {
    Given(&'a [u8]),
    Stub([u8; 2]),
}

impl MemberName<'_> {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            MemberName::Given(name) => name,
            MemberName::Stub(name) => name,
        }
    }
}

/// The members of a directory in byte order: its entries, `.` and `..`, and in the root the stubs.
pub(super) fn members<'a>(overlay: &Overlay<'a>, directory: InodeId) -> impl Iterator<Item = Member<'a>> + use<'a> {
    let tree = overlay.tree;
    let entries = tree.children(directory).map(|entry| {
        let node = NodeIndex::inode(entry.inode);
        let target = if entry.is_link { MemberTarget::Link(node) } else { MemberTarget::Place(node) };
        Member { name: MemberName::Given(entry.name), target }
    });
    let dots = [(&b"."[..], MemberTarget::Itself), (b"..", MemberTarget::Parent)];
    let dots = dots.into_iter().map(|(name, target)| Member { name: MemberName::Given(name), target });
    let stubs = (directory == InodeId::ROOT && overlay.profile.shields_objects).then(|| {
        stubs_of(tree)
            .map(|n| Member { name: MemberName::Stub(stub_name(n)), target: MemberTarget::Place(NodeIndex::stub(n)) })
    });
    // The dots come before every stub.
    Merge { left: entries.peekable(), right: dots.chain(stubs.into_iter().flatten()).peekable() }
}

struct Merge<'a, L: Iterator<Item = Member<'a>>, R: Iterator<Item = Member<'a>>> {
    left: Peekable<L>,
    right: Peekable<R>,
}

impl<'a, L: Iterator<Item = Member<'a>>, R: Iterator<Item = Member<'a>>> Iterator for Merge<'a, L, R> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        match (self.left.peek(), self.right.peek()) {
            (Some(left), Some(right)) if left.name.as_bytes() > right.name.as_bytes() => self.right.next(),
            (Some(_), _) => self.left.next(),
            (None, _) => self.right.next(),
        }
    }
}

/// The space that a directory takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DirectorySpace {
    /// The number of whole blocks.
    pub(super) blocks: u64,
    /// The length of the last chunk, if it is short enough to follow the inode.
    pub(super) tail: u64,
    /// The number of members that are directories, not counting `.` and `..`.
    pub(super) subdirectories: u64,
}

/// Computes the space that a directory takes.
pub(super) fn measure(overlay: &Overlay<'_>, directory: InodeId) -> DirectorySpace {
    let mut extent = DirectorySpace::default();
    let mut chunk = 0;
    for member in members(overlay, directory) {
        let cost = DIRENT_LEN + member.name.as_bytes().len() as u64;
        if chunk + cost > BLOCK {
            extent.blocks += 1;
            chunk = 0;
        }
        chunk += cost;
        if let MemberTarget::Place(node) = member.target
            && file_type(overlay, node) == DIRECTORY
        {
            extent.subdirectories += 1;
        }
    }
    if chunk > MAX_TAIL {
        extent.blocks += 1;
    } else {
        extent.tail = chunk;
    }
    extent
}

const DIRECTORY: u8 = type_number(Kind::Directory);

/// The number of a type in dirents (`include/linux/fs_types.h`).
pub(super) const fn type_number(kind: Kind) -> u8 {
    match kind {
        Kind::Regular => 1,
        Kind::Directory => 2,
        Kind::CharDevice => 3,
        Kind::BlockDevice => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
        Kind::Symlink => 7,
    }
}

/// Returns the file type for the dirent of a node, as the node is in the image.
fn file_type(overlay: &Overlay<'_>, node: NodeIndex) -> u8 {
    let inode = match node.kind() {
        ImageNode::Stub(_) => return type_number(Kind::CharDevice),
        ImageNode::Inode(id) => overlay.tree.stored(id),
    };
    type_number(if overlay.converts(inode) { Kind::Regular } else { inode.kind() })
}

/// Appends the chunks of a directory, each filled up to a whole block but the last, which keeps its length.
pub(super) fn emit(overlay: &Overlay<'_>, directory: InodeId, nid_of: impl Fn(NodeIndex) -> u64, out: &mut Vec<u8>) {
    let node_of = |target| match target {
        MemberTarget::Itself => NodeIndex::inode(directory),
        MemberTarget::Parent => NodeIndex::inode(overlay.tree.parent(directory)),
        MemberTarget::Place(node) | MemberTarget::Link(node) => node,
    };
    let mut chunk: Vec<Member<'_>> = Vec::new();
    let mut len = 0;
    let emit_chunk = |chunk: &[Member<'_>], out: &mut Vec<u8>| {
        let mut name_offset = chunk.len() as u64 * DIRENT_LEN;
        for member in chunk {
            let node = node_of(member.target);
            let dirent =
                Dirent { nid: nid_of(node), name_offset: name_offset as u16, file_type: file_type(overlay, node) };
            dirent.emit(out);
            name_offset += member.name.as_bytes().len() as u64;
        }
        chunk.iter().for_each(|member| out.extend_from_slice(member.name.as_bytes()));
    };
    for member in members(overlay, directory) {
        let cost = DIRENT_LEN + member.name.as_bytes().len() as u64;
        if len + cost > BLOCK {
            emit_chunk(&chunk, out);
            out.resize(out.len() + (BLOCK - len) as usize, 0);
            chunk.clear();
            len = 0;
        }
        chunk.push(member);
        len += cost;
    }
    emit_chunk(&chunk, out);
}
