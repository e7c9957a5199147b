//! Checks the composefs header and the EROFS superblock.

use super::checksum;
use super::finding::{Finding, Problem};
use super::report::CheckReport;
use crate::erofs::constants::{BLOCK, SUPERBLOCK_OFFSET};
use crate::erofs::header::{FLAG_HAS_ACL, HEADER_LEN, Header};
use crate::erofs::read::{Defect, LAST_VERSION, superblock_defects};
use crate::erofs::superblock::{CHECKSUM_OFFSET, FEATURE_CHECKSUM, LEN, Superblock};

/// All that is wrong with the first 1152 bytes, in a file of `file_len` bytes.
pub(super) fn check(image: &[u8], file_len: u64, report: &mut CheckReport) {
    let at = |offset: u64, problem: Problem| Finding { offset, nid: None, path: None, problem };
    match Header::parse(image) {
        Err(error) => report.push(Defect::from(error).at(0)),
        Ok(header) => {
            if header.format_version > LAST_VERSION {
                report.push(Defect::FormatVersion(header.format_version).at(12));
            }
            if header.flags & !FLAG_HAS_ACL != 0 {
                report.push(at(8, Problem::Unused("the header's flags")));
            }
            let rest = image.get(16..SUPERBLOCK_OFFSET as usize).unwrap_or_default();
            if let Some(offset) = rest.iter().position(|byte| *byte != 0).map(|index| 16 + index) {
                let part = if offset < HEADER_LEN { "the header" } else { "what follows the header" };
                report.push(at(offset as u64, Problem::Unused(part)));
            }
        }
    }
    let len = file_len.max(image.len() as u64);
    let Some(bytes) = image.get(SUPERBLOCK_OFFSET as usize..).and_then(<[u8]>::first_chunk::<LEN>) else {
        // Of a header that is too short more need not be said.
        if image.len() >= HEADER_LEN {
            report.push(Defect::NoSuperblock { len }.at(SUPERBLOCK_OFFSET));
        }
        return;
    };
    match Superblock::parse(bytes) {
        Err(found) => report.push(Defect::Magic { found }.at(SUPERBLOCK_OFFSET)),
        Ok(superblock) => {
            superblock_defects(&superblock, len).for_each(|error| report.push(error));
            let blocks = superblock.blocks;
            if u64::from(blocks) * BLOCK < len {
                report.push(at(SUPERBLOCK_OFFSET + 36, Problem::Length { len, blocks }));
            }
            if superblock.features & FEATURE_CHECKSUM != 0 {
                check_sum(image, bytes, report);
            }
            if let Some(field) = unused(bytes, &superblock) {
                report.push(at(SUPERBLOCK_OFFSET + field, Problem::Unused("the superblock")));
            }
        }
    }
}

fn check_sum(image: &[u8], superblock: &[u8; LEN], report: &mut CheckReport) {
    let found =
        superblock.get(CHECKSUM_OFFSET..).and_then(<[u8]>::first_chunk).map_or(0, |sum| u32::from_le_bytes(*sum));
    // A file without its first block is cut off, which is found elsewhere.
    if let Some(expected) = checksum::of_superblock(image).filter(|expected| *expected != found) {
        let offset = SUPERBLOCK_OFFSET + CHECKSUM_OFFSET as u64;
        report.push(Finding { offset, nid: None, path: None, problem: Problem::Checksum { found, expected } });
    }
}

/// The first byte that no field in use accounts for and that is not zero.
fn unused(bytes: &[u8; LEN], superblock: &Superblock) -> Option<u64> {
    let checksum = superblock.features & FEATURE_CHECKSUM != 0;
    let is_used = |index: usize| checksum && (CHECKSUM_OFFSET..CHECKSUM_OFFSET + 4).contains(&index);
    let differs = bytes.iter().zip(superblock.emit()).enumerate();
    let mut differing = differs.filter(|(index, (found, used))| *found != used && !is_used(*index));
    differing.next().map(|(index, _)| index as u64)
}
