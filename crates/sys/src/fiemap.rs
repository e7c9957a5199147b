//! Counts the data that a file shares with other files, by its extents (`Documentation/filesystems/fiemap.rst`).
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};

/// `FS_IOC_FIEMAP`: `_IOWR('f', 11, struct fiemap)` of `include/uapi/linux/fiemap.h`.
const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
/// Writes out what has no place yet.
const FLAG_SYNC: u32 = 1;
const EXTENT_LAST: u32 = 1;
const EXTENT_SHARED: u32 = 0x2000;
/// The number of extents requested at a time.
const COUNT: usize = 64;

#[repr(C)]
#[derive(Clone, Copy)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct Map {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [Extent; COUNT],
}

/// Returns the number of bytes in extents that other files share; 0 where the file system shares none.
///
/// # Errors
///
/// What `ioctl` gives, other than that there is no such call.
pub fn shared_bytes(file: BorrowedFd<'_>) -> Result<u64> {
    let mut shared = 0u64;
    let mut start = 0;
    loop {
        let none = Extent { logical: 0, physical: 0, length: 0, reserved64: [0; 2], flags: 0, reserved: [0; 3] };
        let mut map = Map {
            start,
            length: u64::MAX - start,
            flags: FLAG_SYNC,
            mapped_extents: 0,
            extent_count: COUNT as u32,
            reserved: 0,
            extents: [none; COUNT],
        };
        // SAFETY: the kernel writes the fields of `map` and at most `extent_count` extents after them, for which `map`
        // has room.
        let answer = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP as _, &raw mut map) };
        if answer == -1 {
            return match Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO) {
                Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::BADR => Ok(shared),
                errno => Err(errno),
            };
        }
        let found = &map.extents[..(map.mapped_extents as usize).min(COUNT)];
        for extent in found.iter().filter(|extent| extent.flags & EXTENT_SHARED != 0) {
            shared = shared.saturating_add(extent.length);
        }
        match found.last() {
            Some(last) if last.flags & EXTENT_LAST == 0 && last.logical.saturating_add(last.length) > start => {
                start = last.logical + last.length;
            }
            _ => return Ok(shared),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_file_of_its_own_shares_nothing() {
        assert_eq!(size_of::<Map>(), 32 + COUNT * 56);
        let file = tempfile::tempfile().unwrap();
        assert_eq!(shared_bytes(file.as_fd()), Ok(0));
        std::io::Write::write_all(&mut &file, &[7; 100_000]).unwrap();
        assert_eq!(shared_bytes(file.as_fd()), Ok(0));
    }
}
