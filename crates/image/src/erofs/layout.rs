//! Finding every inode its place.

use super::constants::{
    BLOCK, INODES_OFFSET, MAX_CHUNK_BITS, MAX_CHUNKS, MAX_SHARED, NODE_ALIGN, XATTR_HEADER_LEN, round_up,
};
use super::dirent::{Member, MemberTarget, members};
use super::error::WriteError;
use super::format_version::Tails;
use super::inode::{InodeContent, InodeDraft};
use super::node::{ImageNode, NodeIndex, NodeTable, STUBS};
use super::overlay::Overlay;
use super::shared::SharedXattrs;
use super::xattr::Attr;
use crate::tree::{InodeId, Kind, Timestamp, Tree};

/// The inodes in the order of the image: breadth first, names in byte order.
pub(super) fn list_breadth_first(overlay: &Overlay<'_>) -> Vec<NodeIndex> {
    let mut order = Vec::with_capacity(overlay.tree.inode_count() + STUBS);
    order.push(NodeIndex::ROOT);
    let mut next = 0;
    while let Some(node) = order.get(next) {
        next += 1;
        if let ImageNode::Inode(id) = node.kind()
            && overlay.tree.stored(id).kind() == Kind::Directory
        {
            order.extend(members(overlay, id).filter_map(place));
        }
    }
    order
}

/// The inodes with every directory before all that it holds, names in byte order.
pub(super) fn list_depth_first(overlay: &Overlay<'_>) -> Vec<NodeIndex> {
    let mut order = Vec::with_capacity(overlay.tree.inode_count() + STUBS);
    // Those yet to be listed, the next one on top.
    let mut stack = vec![NodeIndex::ROOT];
    while let Some(node) = stack.pop() {
        order.push(node);
        if let ImageNode::Inode(id) = node.kind()
            && overlay.tree.stored(id).kind() == Kind::Directory
        {
            let begin = stack.len();
            stack.extend(members(overlay, id).filter_map(place));
            stack[begin..].reverse();
        }
    }
    order
}

/// The node whose place a member of a directory is.
fn place(member: Member<'_>) -> Option<NodeIndex> {
    match member.target {
        MemberTarget::Place(node) => Some(node),
        MemberTarget::Itself | MemberTarget::Parent | MemberTarget::Link(_) => None,
    }
}

/// The approximate length in bytes of the pieces into which an image is cut.
const PIECE: u64 = 1 << 18;

/// The position of every part of an image.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) order: Vec<NodeIndex>,
    /// Offset in units of [`NODE_ALIGN`].
    nids: NodeTable,
    /// The earliest time of all inodes, which compact inodes share; `None` if there are no compact inodes.
    pub(super) build_time: Option<Timestamp>,
    /// The end of the last inode, and the start of the shared attributes.
    pub(super) inodes_end: u64,
    /// The first data block.
    pub(super) data_start: u64,
    /// The inodes that have data blocks, with the number of them, in order.
    pub(super) with_blocks: Vec<(NodeIndex, u32)>,
    /// The number of data blocks.
    pub(super) data_blocks: u64,
    /// The positions at which the area of the inodes is cut, the first at its start: every piece can be written
    /// independently.
    pub(super) inode_cuts: Vec<Cut>,
    /// The positions at which `with_blocks` is cut.
    pub(super) data_cuts: Vec<Cut>,
}

/// The start of a piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// The first entry of the list that is cut.
    pub(super) index: usize,
    /// The position at which the piece starts.
    pub(super) start: u64,
    /// The number of data blocks of the entries before.
    pub(super) blocks: u64,
}

/// An inode with its attributes, as far as it can be known without a place.
#[derive(Debug)]
pub(super) struct Sized {
    pub(super) draft: InodeDraft,
    pub(super) attrs: Vec<Attr>,
    pub(super) xattr_len: u64,
    /// The number of `attrs`, in their order, that are written as references to shared attributes.
    pub(super) shared_count: usize,
}

impl Sized {
    pub(super) fn empty(overlay: &Overlay<'_>) -> Self {
        Self { draft: InodeDraft::new(overlay, NodeIndex::ROOT), attrs: Vec::new(), xattr_len: 0, shared_count: 0 }
    }

    /// Takes the measure of another inode, reusing the list.
    pub(super) fn measure(&mut self, overlay: &Overlay<'_>, shared: &SharedXattrs, node: NodeIndex) {
        self.draft = InodeDraft::new(overlay, node);
        Attr::list(overlay, node, &mut self.attrs);
        self.shared_count = 0;
        self.xattr_len = if self.attrs.is_empty() { 0 } else { XATTR_HEADER_LEN };
        for attr in &self.attrs {
            if self.shared_count < MAX_SHARED && shared.offset(attr).is_some() {
                self.shared_count += 1;
                self.xattr_len += 4;
            } else {
                self.xattr_len += attr.entry_len(overlay);
            }
        }
    }

    /// The position for an inode that may start at `pos`. Moves a tail that cannot stay with its inode to a block.
    pub(super) fn settle(&mut self, pos: u64, tails: Tails, build_time: Option<Timestamp>) -> u64 {
        let head = self.draft.form(build_time).len() + self.xattr_len;
        let pos = round_up(pos, NODE_ALIGN);
        match tails {
            Tails::Fitted => self.fit(pos, head),
            Tails::Shifted => self.shift(pos, head),
        }
    }

    fn fit(&mut self, pos: u64, head: u64) -> u64 {
        if let InodeContent::Symlink(_) = self.draft.content {
            let whole = head + self.draft.tail;
            if whole >= BLOCK {
                self.move_tail();
            }
            let straddles = pos / BLOCK != (pos + whole - 1) / BLOCK;
            return if straddles { round_up(pos, BLOCK) } else { pos };
        }
        let room_at = |pos: u64| BLOCK - (pos + head) % BLOCK;
        let room = room_at(pos);
        if room >= self.draft.tail {
            return pos;
        }
        let padded = pos + round_up(room, NODE_ALIGN);
        if self.draft.tail <= room_at(padded) {
            return padded;
        }
        self.move_tail();
        round_up(pos, BLOCK)
    }

    fn shift(&self, pos: u64, head: u64) -> u64 {
        let last = pos + head - 1;
        let tail_is_content = self.draft.tail > 0 && !matches!(self.draft.content, InodeContent::Chunks { .. });
        // The end is the position after the tail: a tail that ends with its block is moved too.
        if !tail_is_content || last / BLOCK == (last + 1 + self.draft.tail) / BLOCK {
            return pos;
        }
        pos + round_up(BLOCK - last % BLOCK, NODE_ALIGN)
    }

    fn move_tail(&mut self) {
        self.draft.blocks += 1;
        self.draft.tail = 0;
    }

    /// Checks that the tail of a placed inode lies in one block, as every reader requires.
    fn check_tail(&self, pos: u64, build_time: Option<Timestamp>) -> Result<(), WriteError> {
        let start = pos + self.draft.form(build_time).len() + self.xattr_len;
        match self.draft.content {
            InodeContent::Symlink(inode) if start % BLOCK + self.draft.tail > BLOCK => {
                Err(WriteError::TargetTooLong { inode, len: self.draft.tail })
            }
            _ => Ok(()),
        }
    }

    /// The length of inode, attributes and tail.
    pub(super) fn len(&self, build_time: Option<Timestamp>) -> u64 {
        self.draft.form(build_time).len() + self.xattr_len + self.draft.tail
    }
}

impl Placement {
    pub(super) fn find(
        overlay: &Overlay<'_>,
        order: Vec<NodeIndex>,
        shared: &SharedXattrs,
    ) -> Result<Self, WriteError> {
        let (tree, profile) = (overlay.tree, overlay.profile);
        let times = (0..tree.inode_count() as u32).map(|id| tree.stored(InodeId(id)).mtime());
        let build_time = times.min().filter(|_| profile.has_compact_inodes);
        let mut nids = NodeTable::new(tree);
        let (mut pos, mut data_blocks, mut with_blocks) = (INODES_OFFSET, 0, Vec::new());
        let mut sized = Sized::empty(overlay);
        let mut inode_cuts = vec![Cut { index: 0, start: pos, blocks: 0 }];
        let mut data_cuts = vec![Cut { index: 0, start: 0, blocks: 0 }];
        for (index, &node) in order.iter().enumerate() {
            cut(&mut inode_cuts, Cut { index, start: pos, blocks: data_blocks });
            check_size(tree, overlay, node)?;
            sized.measure(overlay, shared, node);
            pos = sized.settle(pos, profile.tails, build_time);
            sized.check_tail(pos, build_time)?;
            nids.set(node, u32::try_from(pos / NODE_ALIGN).map_err(|_| WriteError::ImageTooLarge)?);
            pos += sized.len(build_time);
            if sized.draft.blocks > 0 {
                cut(&mut data_cuts, Cut { index: with_blocks.len(), start: data_blocks * BLOCK, blocks: data_blocks });
                data_blocks += sized.draft.blocks;
                with_blocks.push((node, u32::try_from(sized.draft.blocks).map_err(|_| WriteError::ImageTooLarge)?));
            }
        }
        let root_nid = u64::from(nids.get(NodeIndex::ROOT));
        if root_nid >= u64::from(u16::MAX) {
            return Err(WriteError::RootNid { nid: root_nid });
        }
        let inodes_end = round_up(pos, NODE_ALIGN);
        let data_start = round_up(inodes_end + shared.area_len, BLOCK);
        data_cuts.iter_mut().for_each(|cut| cut.start += data_start);
        let placement =
            Self { order, nids, build_time, inodes_end, data_start, with_blocks, data_blocks, inode_cuts, data_cuts };
        // Block numbers and references to shared attributes have 32 bits.
        if placement.blocks() > u64::from(u32::MAX) || shared.area_len > u64::from(u32::MAX - 4) {
            return Err(WriteError::ImageTooLarge);
        }
        Ok(placement)
    }

    /// The number by which dirents and the superblock know an inode.
    pub(super) fn nid(&self, node: NodeIndex) -> u64 {
        u64::from(self.nids.get(node))
    }

    /// The image's length in blocks.
    pub(super) fn blocks(&self) -> u64 {
        self.data_start / BLOCK + self.data_blocks
    }
}

/// Begins a new piece if the last one is long enough.
fn cut(cuts: &mut Vec<Cut>, next: Cut) {
    if cuts.last().is_some_and(|last| next.start - last.start >= PIECE) {
        cuts.push(next);
    }
}

fn check_size(tree: &Tree, overlay: &Overlay<'_>, node: NodeIndex) -> Result<(), WriteError> {
    match node.kind() {
        ImageNode::Inode(inode) if overlay.external(node).is_some() => {
            let size = tree.stored(inode).size;
            if size > MAX_CHUNKS << MAX_CHUNK_BITS {
                return Err(WriteError::FileTooLarge { inode, size });
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
