//! Whether an image is as an image should be: all that is wrong with it, and not only the first of it.
//!
//! [`load`](super::read::load) refuses an image for one defect. [`check`] walks past it: a name that leads nowhere is
//! noted and the next one taken, attributes are looked at although the content is not there. Beside what is refused it
//! finds what a mount would bear and no writer makes: numbers that nobody reads but tools, bytes that belong to nothing,
//! objects under another name than their digest's. At last it writes the tree again and compares the bytes.
//!
//! The same holds as for reading: the image is hostile, nothing recurses, and what is kept is a small multiple of its
//! length. Of each severity only the first [`LIMIT`] findings are kept; all are counted.

mod attributes;
mod bytes;
mod canonical;
mod checksum;
mod directory;
mod finding;
mod head;
mod inode;
mod inodes;
mod numbers;
mod region;
mod report;
mod walk;

pub use canonical::Canonical;
pub use finding::{Finding, Problem, Severity};
pub use region::Region;
pub use report::{LIMIT, Report};

use super::read::{Reader, load};

/// Checks an image.
#[must_use]
pub fn check(image: &[u8]) -> Report {
    check_in_file(image, image.len() as u64)
}

/// Checks an image in a file of `file_len` bytes, of which no more was read than the image says that it has.
#[must_use]
pub fn check_in_file(image: &[u8], file_len: u64) -> Report {
    let mut report = Report::default();
    head::check(image, file_len, &mut report);
    let Ok(reader) = Reader::new(image) else { return report };
    let mut walk = walk::Walk::new(&reader, report);
    walk.run();
    let (inodes, claims, mut report) = walk.finish();
    match load(&reader, &[]) {
        Ok(loaded) => report.canonical = canonical::compare(&reader, file_len, &loaded.tree, &inodes, &claims),
        Err(error) => report.refused_by_reader(error),
    }
    if report.canonical != Canonical::Yes && !report.is_cut_short() {
        claims.report_unclaimed(image, &mut report);
    }
    report
}
