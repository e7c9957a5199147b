//! The inodes of the image: those of the tree, and the stubs that only images have.

use crate::digest::HEX_DIGITS;
use crate::tree::{InodeId, Tree};

/// The number of stubs that a root can get: the names `00` to `ff`.
pub(super) const STUBS: usize = 256;
const FIRST_STUB: u32 = u32::MAX - (STUBS as u32 - 1);

/// An inode of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeIndex(u32);

/// The two kinds of [`NodeIndex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImageNode {
    Inode(InodeId),
    /// A whiteout in the root that shields the object directories where they are ordinary layers.
    Stub(u8),
}

impl NodeIndex {
    pub(super) const ROOT: NodeIndex = NodeIndex(0);

    pub(super) fn inode(id: InodeId) -> Self {
        debug_assert!(id.0 < FIRST_STUB, "the builder ends at 2^31");
        NodeIndex(id.0)
    }

    pub(super) fn stub(number: u8) -> Self {
        NodeIndex(FIRST_STUB + u32::from(number))
    }

    pub(super) fn kind(self) -> ImageNode {
        match self.0.checked_sub(FIRST_STUB) {
            Some(number) => ImageNode::Stub(number as u8),
            None => ImageNode::Inode(InodeId(self.0)),
        }
    }
}

/// The name of a stub.
pub(crate) fn stub_name(number: u8) -> [u8; 2] {
    [HEX_DIGITS[usize::from(number >> 4)], HEX_DIGITS[usize::from(number & 15)]]
}

/// The stubs of a tree's root, in name order: a name that the root has already gets none.
pub(crate) fn stubs_of(tree: &Tree) -> impl Iterator<Item = u8> + '_ {
    (0..=u8::MAX).filter(|&number| tree.child(InodeId::ROOT, &stub_name(number)).is_none())
}

/// A number for each node of a tree.
#[derive(Debug)]
pub(super) struct NodeTable {
    inodes: Vec<u32>,
    stubs: [u32; STUBS],
}

impl NodeTable {
    pub(super) fn new(tree: &Tree) -> Self {
        Self { inodes: vec![0; tree.inode_count()], stubs: [0; STUBS] }
    }

    pub(super) fn get(&self, node: NodeIndex) -> u32 {
        match node.kind() {
            ImageNode::Inode(id) => self.inodes[id.index()],
            ImageNode::Stub(number) => self.stubs[usize::from(number)],
        }
    }

    pub(super) fn set(&mut self, node: NodeIndex, value: u32) {
        match node.kind() {
            ImageNode::Inode(id) => self.inodes[id.index()] = value,
            ImageNode::Stub(number) => self.stubs[usize::from(number)] = value,
        }
    }
}
