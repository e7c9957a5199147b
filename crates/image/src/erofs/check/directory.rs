//! Checks the entries of one directory: their order, types and targets, `.` and `..`, and the link count.

use super::finding::{Finding, Problem};
use super::inodes::Shape;
use super::walk::Walk;
use crate::digest::hex_value;
use crate::erofs::constants::BLOCK;
use crate::erofs::dirent::{DIRENT_LEN, type_number};
use crate::erofs::read::{Defect, RawEntry, RawInode, ReadError, check_order};
use crate::tree::Kind;

impl<'a> Walk<'_, 'a> {
    pub(super) fn check_directory(&mut self, directory: u32) {
        // Whether inode and content can be read was seen when the directory was met.
        let Ok(inode) = self.reader.inode(self.inodes.get(directory).nid.into()) else { return };
        let Ok(entries) = self.reader.entries(&inode) else { return };
        let parent = u64::from(self.inodes.get(self.inodes.parent(directory)).nid);
        let mut dots = [(".", inode.nid(), false), ("..", parent, false)];
        let (mut before, mut directories, mut is_whole) = (None, 0u64, true);
        let mut last: Option<RawEntry<'_>> = None;
        for entry in entries.going_on() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    is_whole = false;
                    self.refused(directory, error);
                    continue;
                }
            };
            if let Err(error) = check_order(&inode, before.replace(entry.name), &entry) {
                self.refused(directory, error);
            }
            if let Some(last) = last.replace(entry).filter(|last| last.offset / BLOCK != entry.offset / BLOCK) {
                self.check_end_of_block(directory, &last);
            }
            match dots.iter_mut().find(|(dot, ..)| dot.as_bytes() == entry.name) {
                Some((name, expected, met)) => {
                    *met = true;
                    if entry.nid != *expected {
                        let defect = Defect::DotElsewhere { name, found: entry.nid, expected: *expected };
                        self.refused(directory, defect.of(inode.nid(), entry.offset));
                    }
                }
                None => directories += u64::from(self.check_entry(directory, &entry)),
            }
        }
        if let Some(last) = last.filter(|_| is_whole) {
            self.check_end_of_block(directory, &last);
        }
        self.check_directory_whole(directory, &inode, dots.map(|(name, _, met)| (name, met)), directories, is_whole);
    }

    fn check_directory_whole(
        &mut self,
        directory: u32,
        inode: &RawInode,
        dots: [(&'static str, bool); 2],
        directories: u64,
        is_whole: bool,
    ) {
        for (name, _) in dots.into_iter().filter(|(_, met)| !met) {
            self.refused(directory, Defect::DotMissing(name).of(inode.nid(), inode.offset()));
        }
        let (found, expected) = (inode.record().nlink, 2 + directories);
        // More than a field can say is written as the most that it can.
        if is_whole && u64::from(found) != expected.min(u32::MAX.into()) {
            self.found(directory, inode.offset(), Problem::DirectoryLinks { found, expected });
        }
    }

    /// Bytes after the last name of a block must be zero. The tail of an inode ends with the last name.
    fn check_end_of_block(&mut self, directory: u32, last: &RawEntry<'_>) {
        let end = last.name_offset + last.name.len() as u64;
        let is_in_block = self.reader.inode(self.inodes.get(directory).nid.into()).is_ok_and(|inode| {
            self.reader.flat_content(&inode).is_ok_and(|flat| {
                let blocks = flat.blocks_offset..flat.blocks_offset + flat.blocks.len() as u64;
                blocks.contains(&last.offset)
            })
        });
        if is_in_block {
            self.check_unused(directory, end, end.next_multiple_of(BLOCK), "the directory's block");
        }
    }

    /// Looks at a name and what it leads to. Tells whether it is the name of a directory.
    fn check_entry(&mut self, directory: u32, entry: &RawEntry<'a>) -> bool {
        self.report.names += 1;
        let reserved = entry.offset + DIRENT_LEN - 1;
        self.check_unused(directory, reserved, reserved + 1, "a directory entry");
        if directory == 0 {
            self.note_name_of_root(entry.name);
        }
        let known = u32::try_from(entry.nid).ok().and_then(|nid| self.inodes.find(nid));
        if let Some(index) = known {
            self.check_again(index, directory, entry);
            return false;
        }
        let inode = self.reader.inode(entry.nid);
        let error = match (&inode, u32::try_from(entry.nid)) {
            (Ok(inode), Ok(nid)) => {
                let index = self.inodes.push(nid, directory, entry.name);
                self.take_inode(index, inode);
                self.check_type(directory, entry, type_number(inode.kind()));
                self.check_whiteout(index, directory, entry, inode);
                return self.inodes.get(index).kind == Shape::Directory;
            }
            (Err(error), Ok(nid)) if !matches!(error.defect, Defect::InodeOutside { .. }) => {
                self.inodes.push(nid, directory, entry.name);
                error.clone()
            }
            (Err(error), _) => error.clone(),
            (Ok(_), Err(_)) => Defect::InodeOutside { nid: entry.nid }.of(entry.nid, entry.offset),
        };
        self.refused_in(directory, entry.name, error);
        false
    }

    fn refused_in(&mut self, directory: u32, name: &[u8], error: ReadError) {
        let path = Some(self.inodes.path_in(directory, name));
        self.report.push(Finding { path, ..Finding::from(error) });
    }

    fn check_type(&mut self, directory: u32, entry: &RawEntry<'_>, expected: u8) {
        if entry.file_type != expected {
            let defect = Defect::FileType { found: entry.file_type, expected };
            self.refused_in(directory, entry.name, defect.of(entry.nid, entry.offset));
        }
    }

    /// A further name for an inode.
    fn check_again(&mut self, index: u32, directory: u32, entry: &RawEntry<'_>) {
        let met = self.inodes.get_mut(index);
        met.names = met.names.saturating_add(1);
        let twice = match met.kind {
            Shape::Broken => return,
            Shape::Directory => Defect::DirectoryTwice,
            Shape::Stub if entry.file_type == type_number(Kind::CharDevice) => Defect::StubTwice,
            Shape::Stub => return self.check_type(directory, entry, type_number(Kind::CharDevice)),
            Shape::Other(expected) => return self.check_type(directory, entry, expected),
        };
        self.refused_in(directory, entry.name, twice.of(entry.nid, entry.offset));
    }

    /// A whiteout of the image itself hides an object directory, or is lost.
    fn check_whiteout(&mut self, index: u32, directory: u32, entry: &RawEntry<'_>, inode: &RawInode) {
        if self.inodes.get(index).kind != Shape::Stub {
            return;
        }
        let links = inode.record().nlink;
        if links > 1 {
            self.refused(index, Defect::StubLinks(links).of(inode.nid(), inode.offset()));
        }
        if directory != 0 || stub_number(entry.name).is_none() {
            self.found(index, inode.offset(), Problem::NoStub);
        }
    }

    fn note_name_of_root(&mut self, name: &[u8]) {
        if let Some(number) = stub_number(name) {
            self.hidden[usize::from(number)] = true;
        }
    }
}

/// The number that the name of an object directory spells.
fn stub_number(name: &[u8]) -> Option<u8> {
    let &[high, low] = name else { return None };
    let is_lower = !high.is_ascii_uppercase() && !low.is_ascii_uppercase();
    Some(hex_value(high)? << 4 | hex_value(low)?).filter(|_| is_lower)
}
