//! One inode of the image: its fields, its size, its bytes.

use super::constants::{BLOCK, BLOCK_BITS, MAX_CHUNK_BITS, MAX_TAIL};
use super::dirent;
use super::node::{ImageNode, NodeIndex};
use super::overlay::Overlay;
use super::record::{InodeRecord, Layout, RecordForm};
use crate::tree::{InodeId, Kind, StoredData, StoredInode, Timestamp};

/// The source of an inode's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InodeContent {
    Nothing,
    Directory(InodeId),
    /// The target of this symlink.
    Symlink(InodeId),
    /// The inline content of this file.
    Inline(InodeId),
    /// Chunk pointers, all of them null: the content is an object. `bits` is the logarithm of the chunk size.
    Chunks {
        count: u64,
        bits: u32,
    },
}

/// An inode before it has a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct InodeDraft {
    pub(super) mode: u16,
    pub(super) nlink: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) rdev: u32,
    pub(super) mtime: Timestamp,
    /// The size that decides between compact and extended.
    pub(super) recorded_size: u64,
    pub(super) content: InodeContent,
    /// The number of whole data blocks.
    pub(super) blocks: u64,
    /// The number of bytes after the attributes.
    pub(super) tail: u64,
}

impl InodeDraft {
    pub(super) fn new(overlay: &Overlay<'_>, node: NodeIndex) -> Self {
        match node.kind() {
            ImageNode::Inode(id) => Self::of_inode(overlay, node, id),
            ImageNode::Stub(_) => Self::stub(overlay.tree.stored(InodeId::ROOT)),
        }
    }

    /// A whiteout in the root, owned and dated like it.
    fn stub(root: &StoredInode) -> Self {
        Self {
            mode: 0o020644,
            nlink: 1,
            uid: root.uid,
            gid: root.gid,
            rdev: 0,
            mtime: root.mtime(),
            recorded_size: 0,
            content: InodeContent::Nothing,
            blocks: 0,
            tail: 0,
        }
    }

    fn of_inode(overlay: &Overlay<'_>, node: NodeIndex, id: InodeId) -> Self {
        let inode = overlay.tree.stored(id);
        let mut draft = Self {
            mode: inode.mode,
            nlink: inode.nlink,
            uid: inode.uid,
            gid: inode.gid,
            rdev: inode.rdev,
            mtime: inode.mtime(),
            recorded_size: inode.size,
            content: InodeContent::Nothing,
            blocks: 0,
            tail: 0,
        };
        match inode.data {
            StoredData::Directory { .. } => {
                let extent = dirent::measure(overlay, id);
                draft.content = InodeContent::Directory(id);
                (draft.blocks, draft.tail) = (extent.blocks, extent.tail);
                draft.nlink = (2 + extent.subdirectories).min(u64::from(u32::MAX)) as u32;
                draft.recorded_size = extent.blocks * BLOCK + extent.tail;
            }
            StoredData::Symlink(target) => {
                draft.content = InodeContent::Symlink(id);
                draft.tail = target.len() as u64;
            }
            StoredData::Regular { .. } if overlay.external(node).is_some() => {
                let least = inode.size.next_power_of_two().trailing_zeros().clamp(BLOCK_BITS, MAX_CHUNK_BITS);
                let bits = overlay.profile.chunk_bits.unwrap_or(least);
                let count = inode.size.div_ceil(1 << bits);
                draft.content = InodeContent::Chunks { count, bits };
                draft.tail = 4 * count;
            }
            StoredData::Regular { content, .. } if content.len() > 0 => {
                let (blocks, tail) = (inode.size / BLOCK, inode.size % BLOCK);
                (draft.blocks, draft.tail) = if tail > MAX_TAIL { (blocks + 1, 0) } else { (blocks, tail) };
                draft.content = InodeContent::Inline(id);
            }
            StoredData::Regular { .. } => {}
            StoredData::Special if overlay.converts(inode) => {
                // Overlayfs shows a file with the right attributes as a whiteout again.
                draft.mode = inode.mode & 0o7777 | 0o100000;
                draft.recorded_size = 0;
            }
            StoredData::Special => {}
        }
        if !overlay.profile.keeps_nanoseconds {
            draft.mtime.nsec = 0;
        }
        draft
    }

    /// Returns the compact form if it can hold all fields: they are narrow, and its time is that of the superblock, if
    /// that has one.
    pub(super) fn form(&self, build_time: Option<Timestamp>) -> RecordForm {
        let narrow = |value: u32| value <= u32::from(u16::MAX);
        let compact = build_time == Some(self.mtime)
            && narrow(self.nlink)
            && narrow(self.uid)
            && narrow(self.gid)
            && self.recorded_size <= u64::from(u32::MAX);
        if compact { RecordForm::Compact } else { RecordForm::Extended }
    }

    fn kind(&self) -> Kind {
        Kind::from_mode(u32::from(self.mode)).expect("drafts come from checked modes")
    }

    fn written_size(&self) -> u64 {
        match self.kind() {
            Kind::Directory => self.blocks * BLOCK + self.tail,
            Kind::Regular | Kind::Symlink => self.recorded_size,
            _ => 0,
        }
    }

    fn layout(&self) -> Layout {
        match self.content {
            InodeContent::Chunks { .. } => Layout::Chunks,
            _ if self.tail > 0 => Layout::Inline,
            _ => Layout::Plain,
        }
    }

    /// `i_u`: block number, device number or chunk format.
    fn union_field(&self, first_block: u32) -> u32 {
        match self.content {
            InodeContent::Chunks { bits, .. } => {
                // A chunk array that was moved to a block leaves the high half of the block's number here.
                let moved = if self.blocks > 0 { first_block & 0xffff_0000 } else { 0 };
                moved | (bits - BLOCK_BITS)
            }
            _ if self.blocks > 0 => first_block,
            _ => self.rdev,
        }
    }

    /// Appends the 32 or 64 bytes of the inode itself.
    pub(super) fn emit(&self, placed: Placed, out: &mut Vec<u8>) {
        let Placed { build_time, xattr_icount, ino, first_block } = placed;
        let record = InodeRecord {
            form: self.form(build_time),
            layout: self.layout(),
            xattr_icount,
            mode: self.mode,
            nlink: self.nlink,
            size: self.written_size(),
            union_field: self.union_field(first_block),
            ino,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
        };
        record.emit(out);
    }
}

/// The fields of an inode that depend on its position in the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) build_time: Option<Timestamp>,
    pub(super) xattr_icount: u16,
    pub(super) ino: u32,
    pub(super) first_block: u32,
}
