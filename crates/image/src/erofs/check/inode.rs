//! The record of one inode, and where its content lies.

use super::byte_map::Owner;
use super::finding::Problem;
use super::inodes::Shape;
use super::walk::Walk;
use crate::erofs::constants::{BLOCK, round_up};
use crate::erofs::dirent::type_number;
use crate::erofs::read::{Defect, Flat, RawContent, RawInode, target};
use crate::tree::{Kind, MAX_INLINE, MAX_PATH, TreeError};

impl Walk<'_, '_> {
    pub(super) fn check_inode(&mut self, index: u32, inode: &RawInode) {
        let record = inode.record();
        let met = self.inodes.get_mut(index);
        (met.links, met.ino) = (record.nlink, record.ino);
        met.kind = match inode.kind() {
            Kind::Directory => Shape::Directory,
            _ if self.is_written && inode.is_whiteout() => Shape::Stub,
            kind => Shape::Other(type_number(kind)),
        };
        self.report.inodes += 1;
        self.earliest = Some(self.earliest.map_or(record.mtime, |earliest| earliest.min(record.mtime)));
        self.check_record(index, inode);
        let tail_len = match self.reader.content(inode) {
            Ok(RawContent::Flat(flat)) => {
                self.check_flat(index, inode, &flat);
                flat.tail.len() as u64
            }
            Ok(RawContent::External { pointers_len, .. }) => pointers_len,
            Ok(RawContent::Special) => 0,
            Err(error) => {
                self.refused(index, error);
                0
            }
        };
        self.claim(inode.offset(), inode.tail_offset() - inode.offset() + tail_len, Owner::Inode(index));
        self.check_attributes(index, inode);
    }

    /// The bytes of the record that no field accounts for.
    fn check_record(&mut self, index: u32, inode: &RawInode) {
        let mut used = Vec::with_capacity(64);
        inode.record().emit(&mut used);
        let found = self.reader.slice(inode.offset(), used.len() as u64).unwrap_or_default();
        if let Some(at) = found.iter().zip(&used).position(|(found, used)| found != used) {
            self.found(index, inode.offset() + at as u64, Problem::Unused("the inode"));
        }
    }

    fn check_flat(&mut self, index: u32, inode: &RawInode, flat: &Flat<'_>) {
        let size = inode.record().size;
        let blocks_end = flat.blocks_offset + flat.blocks.len() as u64;
        let blocks_len = round_up(flat.blocks.len() as u64, BLOCK);
        self.claim(flat.blocks_offset, blocks_len, Owner::Blocks(index));
        self.check_unused(index, blocks_end, flat.blocks_offset + blocks_len, "the last block of the content");
        let defect = match inode.kind() {
            Kind::Regular if size > MAX_INLINE as u64 => Some(Defect::ContentTooLong(size)),
            Kind::Symlink => match target(inode, *flat) {
                Err(error) => Some(error.defect),
                Ok(target) if !(1..=MAX_PATH).contains(&target.len()) => {
                    Some(Defect::Tree(TreeError::SymlinkTarget(target.len())))
                }
                Ok(_) => None,
            },
            _ => None,
        };
        if let Some(defect) = defect {
            self.refused(index, defect.of(inode.nid(), inode.offset()));
        }
    }
}
