//! An image that is planned and can be written.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::Range;

use super::constants::{BLOCK, INODES_OFFSET, MAX_SHARED, SUPERBLOCK_OFFSET, XATTR_HEADER_LEN};
use super::dirent;
use super::error::WriteError;
use super::format_version::{InodeOrder, Versions, WriterProfile};
use super::header::{FLAG_HAS_ACL, HEADER_LEN, Header};
use super::inode::{InodeContent, InodeDraft, Placed};
use super::layout::{Placement, Sized, list_breadth_first, list_depth_first};
use super::node::NodeIndex;
use super::overlay::Overlay;
use super::shared::SharedXattrs;
use super::superblock::Superblock;
use super::xattr::filter_bit;
use crate::digest::{Algorithm, Digest};
use crate::in_order;
use crate::tree::{StoredData, Tree};
use crate::verity::{Hasher, hash_whole_blocks};

/// A tree laid out as an image.
#[derive(Debug)]
pub struct Image<'t> {
    overlay: Overlay<'t>,
    shared: SharedXattrs,
    placement: Placement,
}

/// Directories that are opaque in a tree and not in its image (`docs/format/image.md`, "Whiteouts").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostOpaque {
    /// The number of such directories.
    pub count: usize,
    /// The paths of the first few.
    pub first: Vec<Vec<u8>>,
}

impl<'t> Image<'t> {
    /// Lays out a tree in the first of the versions that can express it.
    pub fn plan(tree: &'t Tree, versions: Versions) -> Result<Self, WriteError> {
        Self::plan_as(tree, versions.choose(tree.has_whiteout())?)
    }

    /// Lays out a tree as a profile says, were it the [legacy](super::format_version::LEGACY) one.
    pub fn plan_as(tree: &'t Tree, profile: &'static WriterProfile) -> Result<Self, WriteError> {
        let overlay = Overlay::new(tree, profile)?;
        let order = match profile.order {
            InodeOrder::BreadthFirst => list_breadth_first(&overlay),
            InodeOrder::DepthFirst => list_depth_first(&overlay),
        };
        let shared = SharedXattrs::find(&overlay, order.iter().copied());
        let placement = Placement::find(&overlay, order, &shared)?;
        Ok(Self { overlay, shared, placement })
    }

    /// The format version the image will have.
    #[must_use]
    pub fn format_version(&self) -> u32 {
        self.overlay.profile.format_version
    }

    /// The image's length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.placement.blocks() * BLOCK
    }

    /// Never: an image has at least its superblock.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The number of inodes, those included that only images have.
    #[must_use]
    pub fn inode_count(&self) -> u64 {
        self.placement.order.len() as u64
    }

    /// Returns the directories that are opaque in the tree and not in the image, because they also hold whiteouts. If
    /// the image becomes a layer over others, the files that these directories hide become visible. The format has one
    /// attribute for both meanings.
    #[must_use]
    pub fn lost_opaque(&self) -> LostOpaque {
        const FIRST: usize = 5;
        let all = &self.overlay.lost_opaque;
        let first = all.iter().take(FIRST).map(|&inode| self.overlay.tree.path_of(inode)).collect();
        LostOpaque { count: all.len(), first }
    }

    /// The image's own fs-verity digest, without keeping the image.
    #[must_use]
    pub fn digest(&self, algorithm: Algorithm) -> Digest {
        let written = self.write_and_digest(algorithm, NonZeroUsize::MIN, &mut io::sink());
        written.expect("nothing is written that could fail")
    }

    /// Writes the image, from its first byte to its last, in large pieces.
    ///
    /// # Errors
    ///
    /// What `out` gives.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut piece = Vec::new();
        for number in 0..self.piece_count() {
            piece.clear();
            self.emit_piece(number, &mut piece);
            out.write_all(&piece)?;
        }
        out.flush()
    }

    /// Writes the image and returns its fs-verity digest. Up to `threads` threads make and hash the pieces.
    ///
    /// # Errors
    ///
    /// Errors of writing to `out`.
    pub fn write_and_digest(
        &self,
        algorithm: Algorithm,
        threads: NonZeroUsize,
        out: &mut (impl Write + Send),
    ) -> io::Result<Digest> {
        let (mut hasher, mut result) = (Hasher::new(algorithm), Ok(()));
        let make = |number, piece: &mut HashedPiece| {
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            number < self.piece_count() && {
                piece.emit(self, number, algorithm);
                true
            }
        };
        in_order(threads, make, |piece| {
            result = out.write_all(&piece.bytes);
            piece.add_to(&mut hasher);
            result.is_ok()
        });
        result.and_then(|()| out.flush())?;
        Ok(hasher.finish())
    }

    /// Returns the number of pieces: those of the inodes (the first one includes the headers), the shared attributes,
    /// and those of the data.
    fn piece_count(&self) -> usize {
        self.placement.inode_cuts.len() + 1 + self.placement.data_cuts.len()
    }

    /// The position of a piece.
    fn piece_start(&self, number: usize) -> u64 {
        let Placement { inode_cuts, data_cuts, inodes_end, .. } = &self.placement;
        match number.checked_sub(inode_cuts.len()) {
            None if number == 0 => 0,
            None => inode_cuts[number].start,
            Some(0) => *inodes_end,
            Some(behind) => data_cuts[behind - 1].start,
        }
    }

    /// Appends a piece to `out`, which is empty.
    fn emit_piece(&self, number: usize, out: &mut Vec<u8>) {
        let Placement { inode_cuts, data_cuts, with_blocks, order, .. } = &self.placement;
        let mut out = Emitter { start: self.piece_start(number), bytes: out };
        match number.checked_sub(inode_cuts.len()) {
            None => {
                if number == 0 {
                    self.emit_head(&mut out);
                }
                let (cut, next) = (inode_cuts[number], inode_cuts.get(number + 1));
                let end = next.map_or(order.len(), |next| next.index);
                self.emit_inodes(cut.index..end, cut.blocks, &mut out);
                out.pad_to(next.map_or(self.placement.inodes_end, |next| next.start));
            }
            Some(0) => {
                self.shared.area.iter().for_each(|attr| attr.emit(&self.overlay, out.bytes));
                out.pad_to(self.placement.data_start);
            }
            Some(behind) => {
                let end = data_cuts.get(behind).map_or(with_blocks.len(), |next| next.index);
                self.emit_data(&with_blocks[data_cuts[behind - 1].index..end], &mut out);
            }
        }
    }

    fn emit_head(&self, out: &mut Emitter<'_>) {
        let flags = if self.overlay.profile.tells_acls && self.has_acl() { FLAG_HAS_ACL } else { 0 };
        let header = Header { flags, format_version: self.format_version() };
        out.bytes.extend_from_slice(&header.emit());
        debug_assert_eq!(out.position(), HEADER_LEN as u64);
        out.pad_to(SUPERBLOCK_OFFSET);
        let superblock = Superblock {
            root_nid: self.placement.nid(NodeIndex::ROOT) as u16,
            inode_count: self.inode_count(),
            build_time: self.placement.build_time.unwrap_or_default(),
            blocks: self.placement.blocks() as u32,
            xattr_block: (self.references_from() / BLOCK) as u32,
            ..Superblock::default()
        };
        out.bytes.extend_from_slice(&superblock.emit());
        debug_assert_eq!(out.position(), INODES_OFFSET);
    }

    /// The start of the block that references to shared attributes count from.
    fn references_from(&self) -> u64 {
        let inodes_end = self.placement.inodes_end;
        if self.overlay.profile.refers_from_shared_area { inodes_end - inodes_end % BLOCK } else { 0 }
    }

    /// Returns `true` if an inode has an attribute that is exactly a POSIX ACL.
    fn has_acl(&self) -> bool {
        let is_acl = |name: &[u8]| matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default");
        let xattrs = &self.overlay.xattrs;
        (0..xattrs.pair_count() as u32).any(|pair| is_acl(xattrs.pair(pair).name))
    }

    /// Appends the inodes of a range, whose first data block is `blocks` blocks after the start of the data.
    fn emit_inodes(&self, range: Range<usize>, blocks: u64, out: &mut Emitter<'_>) {
        let build_time = self.placement.build_time;
        let numbers_by_nid = self.overlay.profile.numbers_by_nid;
        let mut sized = Sized::empty(&self.overlay);
        let mut next_block = self.placement.data_start / BLOCK + blocks;
        for (ino, &node) in range.clone().zip(&self.placement.order[range]) {
            sized.measure(&self.overlay, &self.shared, node);
            let position = sized.settle(out.position(), self.overlay.profile.tails, build_time);
            debug_assert_eq!(position / 32, self.placement.nid(node));
            out.pad_to(position);
            let xattr_icount = match sized.xattr_len {
                0 => 0,
                len => (len - XATTR_HEADER_LEN) / 4 + 1,
            };
            let first_block = next_block as u32;
            let ino = if numbers_by_nid { self.placement.nid(node) as u32 } else { ino as u32 };
            let placed = Placed { build_time, xattr_icount: xattr_icount as u16, ino, first_block };
            sized.draft.emit(placed, out.bytes);
            self.emit_xattrs(&sized, out.bytes);
            if sized.draft.tail > 0 {
                self.emit_tail(&sized, out.bytes);
            }
            next_block += sized.draft.blocks;
        }
    }

    fn emit_xattrs(&self, sized: &Sized, out: &mut Vec<u8>) {
        if sized.attrs.is_empty() {
            return;
        }
        let filter = sized.attrs.iter().fold(u32::MAX, |filter, attr| {
            let (index, suffix) = attr.split_name(&self.overlay);
            filter & !filter_bit(index, suffix)
        });
        out.extend_from_slice(&filter.to_le_bytes());
        out.push(sized.shared_count as u8);
        out.extend_from_slice(&[0; 7]);
        let area = self.placement.inodes_end - self.references_from();
        let references = sized.attrs.iter().filter_map(|attr| self.shared.offset(attr)).take(MAX_SHARED);
        for offset in references {
            out.extend_from_slice(&(((area + u64::from(offset)) / 4) as u32).to_le_bytes());
        }
        let mut referred = 0;
        for attr in &sized.attrs {
            if referred < MAX_SHARED && self.shared.offset(attr).is_some() {
                referred += 1;
            } else {
                attr.emit(&self.overlay, out);
            }
        }
    }

    fn emit_tail(&self, sized: &Sized, out: &mut Vec<u8>) {
        let tail = sized.draft.tail as usize;
        let last = |bytes: &[u8], out: &mut Vec<u8>| out.extend_from_slice(&bytes[bytes.len() - tail..]);
        match sized.draft.content {
            InodeContent::Nothing => {}
            InodeContent::Chunks { count, .. } => out.resize(out.len() + 4 * count as usize, 0xff),
            InodeContent::Symlink(id) | InodeContent::Inline(id) => last(self.bytes_of(id), out),
            InodeContent::Directory(id) if sized.draft.blocks == 0 => self.emit_directory(id, out),
            InodeContent::Directory(id) => {
                let mut content = Vec::new();
                self.emit_directory(id, &mut content);
                last(&content, out);
            }
        }
    }

    /// The data blocks of some inodes, in their order.
    fn emit_data(&self, with_blocks: &[(NodeIndex, u32)], out: &mut Emitter<'_>) {
        for &(node, blocks) in with_blocks {
            let len = u64::from(blocks) * BLOCK;
            let (start, end) = (out.bytes.len(), out.position() + len);
            match InodeDraft::new(&self.overlay, node).content {
                InodeContent::Nothing => {}
                InodeContent::Chunks { .. } => out.bytes.resize(start + BLOCK as usize, 0xff),
                InodeContent::Symlink(id) | InodeContent::Inline(id) => out.bytes.extend_from_slice(self.bytes_of(id)),
                InodeContent::Directory(id) => self.emit_directory(id, out.bytes),
            }
            // The bytes beyond the blocks are the tail, which follows the inode.
            out.bytes.truncate(start + len as usize);
            out.pad_to(end);
        }
    }

    fn emit_directory(&self, id: crate::tree::InodeId, out: &mut Vec<u8>) {
        dirent::emit(&self.overlay, id, |node| self.placement.nid(node), out);
    }

    /// A symlink's target or a file's inline content.
    fn bytes_of(&self, id: crate::tree::InodeId) -> &[u8] {
        match self.overlay.tree.stored(id).data {
            StoredData::Symlink(span) | StoredData::Regular { content: span, .. } => self.overlay.tree.span(span),
            StoredData::Directory { .. } | StoredData::Special => &[],
        }
    }
}

/// The bytes of a piece as they are emitted, and their position in the file.
struct Emitter<'a> {
    start: u64,
    bytes: &'a mut Vec<u8>,
}

impl Emitter<'_> {
    fn position(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn pad_to(&mut self, position: u64) {
        let padding = position - self.position();
        self.bytes.resize(self.bytes.len() + padding as usize, 0);
    }
}

/// A piece of the image, with the hashes of its whole blocks.
#[derive(Default)]
struct HashedPiece {
    bytes: Vec<u8>,
    /// The number of bytes that belong to the last block of the piece before.
    head: usize,
    hashes: Vec<u8>,
    /// The offset of the last block, which continues in the next piece.
    tail: usize,
}

impl HashedPiece {
    fn emit(&mut self, image: &Image<'_>, number: usize, algorithm: Algorithm) {
        self.bytes.clear();
        image.emit_piece(number, &mut self.bytes);
        let start = image.piece_start(number);
        self.head = (start.next_multiple_of(BLOCK) - start).min(self.bytes.len() as u64) as usize;
        self.hashes.clear();
        let rest = hash_whole_blocks(algorithm, &self.bytes[self.head..], &mut self.hashes);
        self.tail = self.bytes.len() - rest.len();
    }

    fn add_to(&self, hasher: &mut Hasher) {
        hasher.update(&self.bytes[..self.head]);
        if !self.hashes.is_empty() {
            hasher.update_hashed(&self.hashes);
        }
        hasher.update(&self.bytes[self.tail..]);
    }
}
