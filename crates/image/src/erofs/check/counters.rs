//! Checks that need all inodes: counts, numbers and times.

use super::finding::{Finding, Problem};
use super::inodes::Shape;
use super::walk::Walk;
use crate::display::shown;
use crate::erofs::constants::{NODE_ALIGN, SUPERBLOCK_OFFSET};
use crate::erofs::node::stub_name;
use crate::tree::Timestamp;

impl Walk<'_, '_> {
    pub(super) fn check_numbers(&mut self) {
        self.check_superblock();
        self.check_acl_flag();
        self.check_links();
        if let Some(index) = self.attributes.first_not_opaque {
            let count = self.attributes.not_opaque;
            self.found(index, self.offset_of(self.inodes.get(index).nid), Problem::NotOpaqueDirectories { count });
        }
        if self.is_written {
            self.check_stubs();
            self.check_order_of_numbers();
        }
    }

    fn push(&mut self, offset: u64, problem: Problem) {
        self.report.push(Finding { offset, nid: None, path: None, problem });
    }

    fn check_superblock(&mut self) {
        let superblock = *self.reader.superblock();
        let expected = self.report.inodes;
        if superblock.inode_count != expected {
            self.push(SUPERBLOCK_OFFSET + 16, Problem::InodeCount { found: superblock.inode_count, expected });
        }
        let found = superblock.build_time;
        if let Some(earliest) = self.earliest.filter(|earliest| self.is_written && *earliest != found) {
            let problem = Problem::BuildTime { found: time(found), expected: time(earliest) };
            self.push(SUPERBLOCK_OFFSET + 24, problem);
        }
    }

    fn check_acl_flag(&mut self) {
        match (self.reader.header().has_acl(), self.attributes.has_acl) {
            (false, true) => self.push(8, Problem::AclDenied),
            (true, false) => self.push(8, Problem::AclClaimed),
            _ => {}
        }
    }

    /// The link counts of all but directories, which are looked at by themselves.
    fn check_links(&mut self) {
        for index in 0..self.inodes.len() as u32 {
            let met = *self.inodes.get(index);
            if matches!(met.kind, Shape::Other(_)) && met.links != met.names {
                let problem = Problem::Links { found: met.links, names: met.names };
                self.found(index, self.offset_of(met.nid), problem);
            }
        }
    }

    fn check_stubs(&mut self) {
        let mut missing = (0..=u8::MAX).filter(|number| !self.hidden[usize::from(*number)]);
        if let Some(first) = missing.next() {
            let count = 1 + missing.count() as u32;
            let first = shown(&stub_name(first));
            self.found(0, self.offset_of(self.inodes.get(0).nid), Problem::StubsMissing { first, count });
        }
        if !self.attributes.root_is_opaque {
            self.found(0, self.offset_of(self.inodes.get(0).nid), Problem::NotOpaque);
        }
    }

    /// Inodes are numbered in the order of their positions. One missing inode puts all later ones out of order, so only
    /// the first is reported.
    fn check_order_of_numbers(&mut self) {
        let mut order: Vec<(u32, u32)> = self.inodes.iter().map(|(index, met)| (met.nid, index)).collect();
        order.sort_unstable();
        let differing = order.iter().zip(0u64..).filter_map(|((_, index), expected)| {
            let met = self.inodes.get(*index);
            (met.kind != Shape::Broken && u64::from(met.ino) != expected).then_some((*index, met.ino, expected))
        });
        let mut differing = differing;
        if let Some((index, found, expected)) = differing.next() {
            let count = 1 + differing.count() as u64;
            let offset = self.offset_of(self.inodes.get(index).nid);
            self.found(index, offset, Problem::Number { count, found, expected });
        }
    }

    fn offset_of(&self, nid: u32) -> u64 {
        let start = u64::from(self.reader.superblock().inode_block) * crate::erofs::constants::BLOCK;
        start + u64::from(nid) * NODE_ALIGN
    }
}

fn time(time: Timestamp) -> String {
    format!("{}.{:09}", time.sec, time.nsec)
}
