//! Requests that the kernel reads a file into the page cache before it is used.

use std::num::NonZeroU64;
use std::os::fd::AsFd;

use rustix::fs::{Advice, SeekFrom, fadvise, seek};

/// The number of bytes requested by one call. The kernel reads no more at once than the largest request or the
/// read-ahead of the disk, and ignores the rest silently (`force_page_cache_ra` in `mm/readahead.c`): every disk
/// supports this size.
const PIECE: u64 = 128 << 10;

/// Has the kernel begin to read the first `bytes` of a file or block device, or all of it if it is shorter, and does
/// not wait for them. Moves the descriptor's position.
///
/// It is a hint: where it cannot be taken, nothing is read and nothing fails.
pub fn read_ahead(file: impl AsFd, bytes: u64) {
    let end = seek(&file, SeekFrom::End(0)).unwrap_or(0).min(bytes);
    let mut start = 0;
    while let Some(len) = NonZeroU64::new((end - start).min(PIECE)) {
        if fadvise(&file, start, Some(len), Advice::WillNeed).is_err() {
            break;
        }
        start += len.get();
    }
}
