//! From the root through all directories, breadth first, past whatever is wrong.

use super::byte_map::{Owner, OwnerMap};
use super::finding::{Finding, Problem};
use super::inodes::{MetInodes, Shape};
use super::report::CheckReport;
use super::xattr_totals::XattrTotals;
use crate::erofs::constants::{INODES_OFFSET, SUPERBLOCK_OFFSET};
use crate::erofs::format_version::PROFILES;
use crate::erofs::header::HEADER_LEN;
use crate::erofs::read::{ImageReader, RawInode, ReadError};
use crate::tree::Timestamp;

/// The state of the walk over all inodes.
#[derive(Debug)]
pub(super) struct Walk<'r, 'a> {
    pub(super) reader: &'r ImageReader<'a>,
    pub(super) report: CheckReport,
    pub(super) inodes: MetInodes<'a>,
    pub(super) claims: OwnerMap,
    pub(super) attributes: XattrTotals,
    /// The directories, in the order in which they were met.
    directories: Vec<u32>,
    /// Set if the format version has stubs and inode numbers.
    pub(super) is_written: bool,
    pub(super) earliest: Option<Timestamp>,
    /// Set for each of the 256 names of object directories that the root hides.
    pub(super) hidden: [bool; 256],
    /// More is claimed than is followed.
    is_too_much: bool,
}

impl<'r, 'a> Walk<'r, 'a> {
    pub(super) fn new(reader: &'r ImageReader<'a>, report: CheckReport) -> Self {
        let version = reader.header().format_version;
        Self {
            reader,
            report,
            inodes: MetInodes::default(),
            claims: OwnerMap::new(reader.bytes().len() as u64),
            attributes: XattrTotals::default(),
            directories: Vec::new(),
            is_written: PROFILES.iter().any(|profile| profile.format_version == version),
            earliest: None,
            hidden: [false; 256],
            is_too_much: false,
        }
    }

    /// Looks at all that can be reached, then at what can be said of the whole only.
    pub(super) fn run(&mut self) {
        self.claim(0, HEADER_LEN as u64, Owner::Head);
        self.claim(SUPERBLOCK_OFFSET, INODES_OFFSET - SUPERBLOCK_OFFSET, Owner::Head);
        match self.reader.root() {
            Err(error) => return self.report.push(error),
            Ok(root) => {
                let index = self.inodes.push(u32::from(self.reader.superblock().root_nid), 0, b"");
                self.take_inode(index, &root);
            }
        }
        let mut next = 0;
        while let Some(&directory) = self.directories.get(next) {
            next += 1;
            if self.is_too_much {
                break;
            }
            self.check_directory(directory);
        }
        self.claims.sort();
        self.claims.overlaps(&self.inodes).for_each(|finding| self.report.push(finding));
        if self.is_too_much {
            let problem = Problem::TooMuchShared;
            return self.report.push(Finding { offset: 0, nid: None, path: None, problem });
        }
        self.check_numbers();
    }

    /// Returns the inodes, the byte map and the report after the walk.
    pub(super) fn finish(self) -> (MetInodes<'a>, OwnerMap, CheckReport) {
        (self.inodes, self.claims, self.report)
    }

    /// Looks at an inode that was met for the first time.
    pub(super) fn take_inode(&mut self, index: u32, inode: &RawInode) {
        self.check_inode(index, inode);
        if self.inodes.get(index).kind == Shape::Directory {
            self.directories.push(index);
        }
    }

    pub(super) fn claim(&mut self, start: u64, len: u64, owner: Owner) {
        self.is_too_much |= !self.claims.take(start, len, owner);
    }

    /// Reports what the reader says of an inode.
    pub(super) fn refused(&mut self, index: u32, error: ReadError) {
        let mut finding = Finding::from(error);
        finding.path = Some(self.inodes.path(index));
        self.report.push(finding);
    }

    /// Reports something of an inode, if there is room for more of that kind: a path takes memory.
    pub(super) fn found(&mut self, index: u32, offset: u64, problem: Problem) {
        let path = self.report.has_room(problem.severity()).then(|| self.inodes.path(index));
        let nid = Some(self.inodes.get(index).nid.into());
        self.report.push(Finding { offset, nid, path, problem });
    }

    /// Reports bytes that should be zero.
    pub(super) fn check_unused(&mut self, index: u32, start: u64, end: u64, part: &'static str) {
        let bytes = self.reader.slice(start, end.saturating_sub(start)).unwrap_or_default();
        if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
            self.found(index, start + at as u64, Problem::Unused(part));
        }
    }
}
