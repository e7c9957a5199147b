//! Finds the holes of a file without reading it, by `SEEK_DATA` (`lseek(2)`).
//!
//! A hole takes no space on the disk and reads as zeros. Not every file system reports holes.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, fstat, seek};
use rustix::io::Errno;

/// Returns the end of the hole at `offset`, if there is a hole.
///
/// Moves the offset of the open file description, like `lseek`.
pub(crate) fn hole_end(file: BorrowedFd<'_>, offset: u64) -> Option<u64> {
    let end = match seek(file, SeekFrom::Data(offset)) {
        Ok(end) => end,
        // There is no data after this offset: the hole reaches to the end.
        Err(Errno::NXIO) => u64::try_from(fstat(file).ok()?.st_size).ok()?,
        // The file system knows no holes.
        Err(_) => return None,
    };
    (end > offset).then_some(end)
}

/// Returns true if a file seems to have holes: its blocks do not suffice for its length. Compressed files look like
/// that too.
#[allow(clippy::unnecessary_cast)]
pub(crate) fn has_holes(file: BorrowedFd<'_>) -> bool {
    fstat(file).is_ok_and(|stat| (stat.st_blocks as u64).saturating_mul(512) < stat.st_size as u64)
}

/// Returns the next range of data at or after `offset`, up to the following hole; an empty range at the end of the file
/// if there is no data.
pub(crate) fn data_from(file: BorrowedFd<'_>, offset: u64) -> Range<u64> {
    let start = match seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => {
            let end = fstat(file).map_or(offset, |stat| u64::try_from(stat.st_size).unwrap_or(offset)).max(offset);
            return end..end;
        }
        Err(_) => return offset..u64::MAX,
    };
    let end = seek(file, SeekFrom::Hole(start)).ok().filter(|&end| end > start);
    start..end.unwrap_or(u64::MAX)
}
