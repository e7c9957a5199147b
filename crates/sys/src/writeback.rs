//! Having the kernel begin to write a file to its disk, without waiting for it.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

/// Begins to write what was written to the file (`sync_file_range`): the disk works at the same time as the processor,
/// and a later sync finds less to do. It promises nothing, so failures are ignored.
pub fn begin_writing(file: BorrowedFd<'_>) {
    // SAFETY: the call takes a descriptor, which is open as long as it is borrowed, and numbers.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}
