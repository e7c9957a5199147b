//! An image that is planned and can be written.

use std::io::{self, Write};

use twox_hash::XxHash32;

use super::attr::split_name;
use super::dirent;
use super::error::WriteError;
use super::header::{FLAG_HAS_ACL, HEADER_LEN, Header};
use super::inode::{Content, Draft, Form};
use super::layout::{BLOCK, INODES_OFFSET, MAX_SHARED, SUPERBLOCK_OFFSET, XATTR_HEADER_LEN};
use super::overlay::Overlay;
use super::place::{Placement, Sized, list_breadth_first};
use super::profile::{Profile, Versions};
use super::shared::Shared;
use super::slot::Slot;
use super::superblock::Superblock;
use crate::digest::{Algorithm, Digest};
use crate::tree::{StoredData, Tree};
use crate::verity::DigestWriter;

/// Emitted bytes are handed on in pieces of about this many.
const PIECE: usize = 1 << 18;
/// Seed of the name filter; the prefix's number is added (`EROFS_XATTR_FILTER_SEED`).
const FILTER_SEED: u32 = 0x25bb_e08f;

/// A tree laid out as an image.
#[derive(Debug)]
pub struct Image<'t> {
    profile: &'static Profile,
    overlay: Overlay<'t>,
    shared: Shared,
    placement: Placement,
}

impl<'t> Image<'t> {
    /// Lays out a tree in the first of the versions that can express it.
    pub fn plan(tree: &'t Tree, versions: Versions) -> Result<Self, WriteError> {
        let profile = versions.choose(tree.has_whiteout())?;
        let overlay = Overlay::new(tree, profile)?;
        let order = list_breadth_first(tree);
        let shared = Shared::find(&overlay, order.iter().copied());
        let placement = Placement::find(&overlay, order, &shared)?;
        Ok(Self { profile, overlay, shared, placement })
    }

    /// The format version the image will have.
    #[must_use]
    pub fn format_version(&self) -> u32 {
        self.profile.format_version
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

    /// The image's own fs-verity digest, without keeping the image.
    #[must_use]
    pub fn digest(&self, algorithm: Algorithm) -> Digest {
        let mut out = DigestWriter::new(algorithm, io::sink());
        self.write(&mut out).expect("nothing is written that could fail");
        out.finish().0
    }

    /// Writes the image, from its first byte to its last, in large pieces.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut out = Emitter { out, piece: Vec::with_capacity(2 * PIECE), written: 0 };
        self.emit_head(&mut out);
        self.emit_inodes(&mut out)?;
        for attr in &self.shared.area {
            attr.emit(&self.overlay, &mut out.piece);
            out.hand_on()?;
        }
        out.pad_to(self.placement.data_start);
        self.emit_data(&mut out)?;
        out.finish()
    }

    fn emit_head<W: Write>(&self, out: &mut Emitter<'_, W>) {
        let flags = if self.has_acl() { FLAG_HAS_ACL } else { 0 };
        let header = Header { flags, format_version: self.profile.format_version };
        out.piece.extend_from_slice(&header.emit());
        debug_assert_eq!(out.position(), HEADER_LEN as u64);
        out.pad_to(SUPERBLOCK_OFFSET);
        let superblock = Superblock {
            root_nid: self.placement.nid(Slot::ROOT) as u16,
            inode_count: self.inode_count(),
            build_time: self.placement.min_time,
            blocks: self.placement.blocks() as u32,
            xattr_block: (self.placement.inodes_end / BLOCK) as u32,
        };
        out.piece.extend_from_slice(&superblock.emit());
        debug_assert_eq!(out.position(), INODES_OFFSET);
    }

    /// Whether any inode has an attribute that is exactly a POSIX ACL.
    fn has_acl(&self) -> bool {
        let is_acl = |name: &[u8]| matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default");
        let xattrs = &self.overlay.xattrs;
        (0..xattrs.pair_count() as u32).any(|pair| is_acl(xattrs.pair(pair).name))
    }

    fn emit_inodes<W: Write>(&self, out: &mut Emitter<'_, W>) -> io::Result<()> {
        let min_time = self.placement.min_time;
        let mut sized = Sized::empty(&self.overlay);
        let mut next_block = self.placement.data_start / BLOCK;
        for (ino, &slot) in self.placement.order.iter().enumerate() {
            sized.measure(&self.overlay, &self.shared, slot);
            let position = sized.settle(out.position(), min_time);
            debug_assert_eq!(position / 32, self.placement.nid(slot));
            out.pad_to(position);
            let xattr_icount = match sized.xattr_len {
                0 => 0,
                len => (len - XATTR_HEADER_LEN) / 4 + 1,
            };
            let first_block = next_block as u32;
            let form = Form { min_time, xattr_icount: xattr_icount as u16, ino: ino as u32, first_block };
            sized.draft.emit(form, &mut out.piece);
            self.emit_xattrs(&sized, &mut out.piece);
            if sized.draft.tail > 0 {
                self.emit_tail(&sized, &mut out.piece);
            }
            next_block += sized.draft.blocks;
            out.hand_on()?;
        }
        out.pad_to(self.placement.inodes_end);
        Ok(())
    }

    fn emit_xattrs(&self, sized: &Sized, out: &mut Vec<u8>) {
        if sized.attrs.is_empty() {
            return;
        }
        let filter = sized.attrs.iter().fold(u32::MAX, |filter, attr| {
            let (index, suffix) = split_name(attr.name(&self.overlay));
            let hash = XxHash32::oneshot(FILTER_SEED.wrapping_add(u32::from(index)), suffix);
            filter & !(1 << (hash % 32))
        });
        out.extend_from_slice(&filter.to_le_bytes());
        out.push(sized.shared_count as u8);
        out.extend_from_slice(&[0; 7]);
        let area = (self.placement.inodes_end % BLOCK) as u32;
        let references = sized.attrs.iter().filter_map(|attr| self.shared.offset(attr)).take(MAX_SHARED);
        for offset in references {
            out.extend_from_slice(&((area + offset) / 4).to_le_bytes());
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
            Content::Nothing => {}
            Content::Chunks { count, .. } => out.resize(out.len() + 4 * count as usize, 0xff),
            Content::Symlink(id) | Content::Inline(id) => last(self.bytes_of(id), out),
            Content::Directory(id) if sized.draft.blocks == 0 => self.emit_directory(id, out),
            Content::Directory(id) => {
                let mut content = Vec::new();
                self.emit_directory(id, &mut content);
                last(&content, out);
            }
        }
    }

    /// The data blocks, in the order of their inodes.
    fn emit_data<W: Write>(&self, out: &mut Emitter<'_, W>) -> io::Result<()> {
        for &(slot, blocks) in &self.placement.with_blocks {
            let len = u64::from(blocks) * BLOCK;
            let end = out.position() + len;
            let start = out.piece.len();
            match Draft::new(&self.overlay, slot).content {
                Content::Nothing => {}
                Content::Chunks { .. } => out.piece.resize(start + BLOCK as usize, 0xff),
                Content::Symlink(id) | Content::Inline(id) => out.piece.extend_from_slice(self.bytes_of(id)),
                Content::Directory(id) => self.emit_directory(id, &mut out.piece),
            }
            // What goes beyond the blocks is the tail, which stands behind the inode.
            out.piece.truncate(start + len as usize);
            out.pad_to(end);
            out.hand_on()?;
        }
        Ok(())
    }

    fn emit_directory(&self, id: crate::tree::InodeId, out: &mut Vec<u8>) {
        dirent::emit(self.overlay.tree, id, |slot| self.placement.nid(slot), out);
    }

    /// A symlink's target or a file's inline content.
    fn bytes_of(&self, id: crate::tree::InodeId) -> &[u8] {
        match self.overlay.tree.stored(id).data {
            StoredData::Symlink(span) | StoredData::Regular { content: span, .. } => self.overlay.tree.span(span),
            StoredData::Directory { .. } | StoredData::Special => &[],
        }
    }
}

/// Collects emitted bytes and knows their position in the file.
struct Emitter<'a, W> {
    out: &'a mut W,
    piece: Vec<u8>,
    written: u64,
}

impl<W: Write> Emitter<'_, W> {
    fn position(&self) -> u64 {
        self.written + self.piece.len() as u64
    }

    fn pad_to(&mut self, position: u64) {
        let padding = position - self.position();
        self.piece.resize(self.piece.len() + padding as usize, 0);
    }

    /// Writes what has collected, if it is enough.
    fn hand_on(&mut self) -> io::Result<()> {
        if self.piece.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.piece)?;
        self.written += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.out.flush()
    }
}
