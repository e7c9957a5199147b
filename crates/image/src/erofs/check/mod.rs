//! Checks an image against the rules of the format and reports every defect, not only the first.
//!
//! [`load`] refuses an image for one defect. [`check`] continues after it: it notes a name that
//! leads nowhere and takes the next one, and it checks the attributes of an inode whose content is missing. Beside the
//! defects that the reader refuses it reports what a mount accepts and no writer makes: numbers that only tools read,
//! bytes without an owner, objects under a name that is not their digest. Last, it writes the tree again and compares
//! the bytes.
//!
//! As for reading, the image is hostile: nothing recurses, and the memory used is a small multiple of the image's
//! length. Only the first [`LIMIT`] findings of each severity are kept; all are counted.

mod attributes;
mod byte_map;
mod canonical;
mod checksum;
mod counters;
mod directory;
mod finding;
mod head;
mod inode;
mod inodes;
mod region;
mod report;
mod walk;
mod xattr_totals;

pub use canonical::Canonical;
pub use finding::{Finding, Problem, Severity};
pub use region::Region;
pub use report::{CheckReport, LIMIT};

use super::read::{ImageReader, load};

/// Checks an image and returns the findings.
#[must_use]
pub fn check(image: &[u8]) -> CheckReport {
    check_in_file(image, image.len() as u64)
}

/// Checks an image in a file of `file_len` bytes, of which no more was read than the image says that it has.
#[must_use]
pub fn check_in_file(image: &[u8], file_len: u64) -> CheckReport {
    let mut report = CheckReport::default();
    head::check(image, file_len, &mut report);
    let Ok(reader) = ImageReader::new(image) else { return report };
    let mut walk = walk::Walk::new(&reader, report);
    walk.run();
    let (inodes, claims, mut report) = walk.finish();
    match load(&reader, &[]) {
        Ok(loaded) => report.canonical = canonical::compare(&reader, file_len, &loaded.tree, &inodes, &claims),
        Err(error) => report.refused_by_reader(error),
    }
    if report.canonical != Canonical::Yes && !report.is_cut_short() {
        claims.unclaimed(image).for_each(|finding| report.push(finding));
    }
    report
}
