//! Loop devices: a file as a read-only block device, for kernels whose EROFS cannot mount a file.
//!
//! The interface is `include/uapi/linux/loop.h`, the answers are those of `drivers/block/loop.c`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, ioctl};

const LOOP_CONFIGURE: Opcode = 0x4c0a;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// The number of times that another process may take the free device first before this process gives up.
const TRIES: u32 = 64;

/// `struct loop_info64`, of which we set flags and file name.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// The parameters of a loop device, `struct loop_config`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

impl LoopConfig {
    /// `file_name` is only shown by `losetup`; what does not fit into 63 bytes is cut off.
    fn new(file: BorrowedFd<'_>, block_size: u32, flags: u32, file_name: &Path) -> Self {
        let mut shown = [0; 64];
        for (byte, &from) in shown.iter_mut().take(63).zip(file_name.as_os_str().as_bytes()) {
            *byte = from;
        }
        let info = LoopInfo {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags,
            file_name: shown,
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        };
        // A descriptor is never negative.
        Self { fd: file.as_raw_fd().unsigned_abs(), block_size, info, reserved: [0; 8] }
    }
}

/// The choice of reading the file around the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectIo {
    /// Read around the page cache if the file allows it, so that its pages are not cached twice.
    Try,
    /// Read through the page cache.
    Off,
}

/// A loop device over a file. The kernel frees it by itself once this value is dropped and nothing has it mounted.
#[derive(Debug)]
pub struct LoopDevice {
    /// Keeps the device from being freed before it is mounted.
    device: OwnedFd,
    path: PathBuf,
}

impl LoopDevice {
    /// Attaches `file` to a free loop device: read-only, 4096-byte blocks, freed by the kernel after its last user.
    ///
    /// `file_name` is what `losetup` shows.
    ///
    /// # Errors
    ///
    /// What opening `/dev/loop-control` or the device gives (`ENOENT` where there are none, as in most containers),
    /// `EACCES` or `EPERM` without the right to use them, `EBUSY` if others kept taking the free device.
    pub fn attach(file: impl AsFd, file_name: &Path, direct_io: DirectIo) -> io::Result<Self> {
        let control = rustix::fs::open("/dev/loop-control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let mut tries = 0;
        loop {
            let path = PathBuf::from(format!("/dev/loop{}", free_number(control.as_fd())?));
            match rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .and_then(|device| configure(device.as_fd(), file.as_fd(), file_name, direct_io).map(|()| device))
            {
                Ok(device) => return Ok(Self { device, path }),
                // Between our question and our answer another process took the device.
                Err(Errno::BUSY) if tries < TRIES => tries += 1,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Returns the path of the device.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for LoopDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// The number of a device that was free when the kernel answered.
fn free_number(control: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and touches no memory of ours; the descriptor is open.
    let answer = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(answer).map_err(|_| io::Error::last_os_error())
}

fn configure(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    file_name: &Path,
    direct_io: DirectIo,
) -> rustix::io::Result<()> {
    let always = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    let set = |flags| {
        let config = LoopConfig::new(file, 4096, flags, file_name);
        // SAFETY: LOOP_CONFIGURE takes a pointer to `struct loop_config`, whose layout `LoopConfig` has, and only
        // reads it; the descriptor in it is open.
        unsafe { ioctl(device, Setter::<LOOP_CONFIGURE, LoopConfig>::new(config)) }
    };
    if direct_io == DirectIo::Off {
        return set(always);
    }
    match set(always | LO_FLAGS_DIRECT_IO) {
        // Most kernels drop the flag where the file cannot do it; some refuse.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => set(always),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_the_kernels() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }

    #[test]
    fn a_long_file_name_is_cut_before_its_end_mark() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let config = LoopConfig::new(file.as_fd(), 4096, 0, Path::new(&"x".repeat(100)));
        assert_eq!(config.info.file_name[..63], [b'x'; 63]);
        assert_eq!(config.info.file_name[63], 0);
    }
}
