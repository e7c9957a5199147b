//! A map of the file's bytes: the owner of each, and the bytes without one.

use super::finding::{Finding, Problem};
use super::inodes::MetInodes;
use crate::erofs::constants::INODES_OFFSET;
use crate::erofs::read::Defect;

/// The part of the image that bytes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The composefs header or the EROFS superblock.
    Head,
    /// Record, attributes and tail of an inode, by its index.
    Inode(u32),
    /// The blocks of an inode.
    Blocks(u32),
    /// The area of shared attributes.
    Shared,
}

/// The bytes of one thing.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnedRange {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) owner: Owner,
}

/// All bytes that have an owner.
#[derive(Debug)]
pub(super) struct OwnerMap {
    claims: Vec<OwnedRange>,
    /// The number of bytes that may still be claimed before the image is taken for one whose structures lead in
    /// circles.
    left: u64,
}

/// The number of bytes that an image may claim beyond twice its length.
const ALLOWANCE: u64 = 1 << 20;

impl OwnerMap {
    pub(super) fn new(file_len: u64) -> Self {
        let left = file_len.saturating_mul(2).saturating_add(ALLOWANCE);
        Self { claims: Vec::new(), left }
    }

    /// Claims bytes that lie in the file. Returns `false` if more is claimed than [`ALLOWANCE`] permits, which means
    /// that most bytes are claimed again and again.
    pub(super) fn take(&mut self, start: u64, len: u64, owner: Owner) -> bool {
        if len > 0 {
            self.claims.push(OwnedRange { start, end: start + len, owner });
        }
        let is_enough = len <= self.left;
        self.left = self.left.saturating_sub(len);
        is_enough
    }

    /// Returns the owner of the byte at an offset.
    pub(super) fn owner(&self, offset: u64) -> Option<Owner> {
        let behind = self.claims.partition_point(|claim| claim.start <= offset);
        let before = self.claims.get(..behind)?.last()?;
        (offset < before.end).then_some(before.owner)
    }

    /// Puts the claims in order, so that owners can be looked up.
    pub(super) fn sort(&mut self) {
        self.claims.sort_by_key(|claim| (claim.start, claim.end));
    }

    /// Returns a finding for each claim of bytes that another claim has already. The claims must be in order.
    pub(super) fn overlaps(&self, inodes: &MetInodes<'_>) -> impl Iterator<Item = Finding> {
        let mut last: Option<&OwnedRange> = None;
        self.claims.iter().filter_map(move |claim| {
            let overlapped = last.filter(|last| claim.start < last.end);
            if last.is_none_or(|last| claim.end > last.end) {
                last = Some(claim);
            }
            overlapped.map(|other| overlap(claim, other, inodes))
        })
    }

    /// Returns a finding for each range of bytes without an owner that are not zero. A writer leaves some: shared
    /// attributes to which no inode had room to refer, and pointers to chunks that were moved. So this is not called
    /// for an image that is equal to the writer's own.
    pub(super) fn unclaimed(&self, image: &[u8]) -> impl Iterator<Item = Finding> {
        let file_end = image.len() as u64;
        let starts = self.claims.iter().map(|claim| (claim.start, claim.end)).chain([(file_end, file_end)]);
        let mut end = 0;
        starts.filter_map(move |(start, claim_end)| {
            let finding = check_gap(image, end, start);
            end = end.max(claim_end);
            finding
        })
    }
}

/// Returns a finding if bytes without an owner are not zero padding.
fn check_gap(image: &[u8], start: u64, end: u64) -> Option<Finding> {
    // The bytes before the inodes are checked with header and superblock.
    let start = start.max(INODES_OFFSET);
    let gap = image.get(start as usize..end as usize).unwrap_or_default();
    let first = gap.iter().position(|byte| *byte != 0)?;
    let nonzero = gap.iter().filter(|byte| **byte != 0).count() as u64;
    let problem = Problem::Unclaimed { len: gap.len() as u64, nonzero };
    Some(Finding { offset: start + first as u64, nid: None, path: None, problem })
}

fn overlap(claim: &OwnedRange, other: &OwnedRange, inodes: &MetInodes<'_>) -> Finding {
    let index = |owner: Owner| match owner {
        Owner::Inode(index) | Owner::Blocks(index) => Some(index),
        Owner::Head | Owner::Shared => None,
    };
    let nid = |owner: Owner| index(owner).map(|index| u64::from(inodes.get(index).nid));
    let defect = Defect::Overlap { other: other.start, other_nid: nid(other.owner) };
    let path = index(claim.owner).map(|index| inodes.path(index));
    Finding { offset: claim.start, nid: nid(claim.owner), path, problem: defect.into() }
}
