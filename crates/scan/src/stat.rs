//! Metadata from `lstat`, in the types of the tree model.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use libcomposefs_image::tree::{Kind, Timestamp};
use rustix::fs::{AtFlags, Stat, fstat, statat};

/// Device and inode number: identifies an inode of the scanned file system.
pub(crate) type InodeKey = (u64, u64);

/// The metadata of one inode of the scanned file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InodeStat {
    pub(crate) device: u64,
    pub(crate) ino: u64,
    pub(crate) mode: u32,
    pub(crate) nlink: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) rdev: u32,
    pub(crate) size: u64,
    pub(crate) mtime: Timestamp,
    pub(crate) ctime: Timestamp,
}

impl InodeStat {
    /// Reads the metadata of an entry of a directory, not following a symlink.
    pub(crate) fn of_entry(directory: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Self> {
        Ok(Self::from_stat(&statat(directory, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)?))
    }

    /// Reads the metadata of an open file.
    pub(crate) fn of_file(file: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        Ok(Self::from_stat(&fstat(file)?))
    }

    // The types of the fields differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    fn from_stat(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            mode: stat.st_mode as u32,
            nlink: stat.st_nlink as u64,
            uid: stat.st_uid as u32,
            gid: stat.st_gid as u32,
            // The kernel's encoding (`new_encode_dev`) has 32 bits; the C library only widens the type.
            rdev: stat.st_rdev as u32,
            size: stat.st_size as u64,
            mtime: Timestamp { sec: stat.st_mtime as i64, nsec: stat.st_mtime_nsec as u32 },
            ctime: Timestamp { sec: stat.st_ctime as i64, nsec: stat.st_ctime_nsec as u32 },
        }
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        Kind::from_mode(self.mode)
    }

    /// Returns the device and inode number.
    pub(crate) fn key(&self) -> InodeKey {
        (self.device, self.ino)
    }

    /// Returns true if both have the same inode and type.
    pub(crate) fn is_same_inode(&self, other: &InodeStat) -> bool {
        self.key() == other.key() && self.kind() == other.kind()
    }

    /// Returns true if no write occurred between the two, as far as the clock of the file system shows.
    pub(crate) fn is_unchanged(&self, later: &InodeStat) -> bool {
        self.is_same_inode(later) && (self.size, self.mtime, self.ctime) == (later.size, later.mtime, later.ctime)
    }
}

impl InodeStat {
    /// Returns the metadata for the tree. The size of an inode that is not a regular file has no meaning and is
    /// dropped.
    pub(crate) fn inode<'a>(&self, mtime: Timestamp) -> libcomposefs_image::tree::NewInode<'a> {
        libcomposefs_image::tree::NewInode {
            mode: self.mode,
            size: if self.kind() == Some(Kind::Regular) { self.size } else { 0 },
            nlink: 1,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            mtime,
            ..Default::default()
        }
    }
}
