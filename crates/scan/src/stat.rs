//! What `lstat` tells, in the types of the tree model.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use libcomposefs_image::tree::{Kind, Timestamp};
use rustix::fs::{AtFlags, Stat, fstat, statat};

/// Device and inode number: names an inode of the scanned file system.
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
    /// Of the entry of a directory, not following a symlink.
    pub(crate) fn of_entry(directory: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Self> {
        Ok(Self::from_stat(&statat(directory, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)?))
    }

    /// Of an open file.
    pub(crate) fn of_file(file: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        Ok(Self::from_stat(&fstat(file)?))
    }

    // The fields have other types on other machines.
    #[allow(clippy::unnecessary_cast)]
    fn from_stat(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            mode: stat.st_mode as u32,
            nlink: stat.st_nlink as u64,
            uid: stat.st_uid as u32,
            gid: stat.st_gid as u32,
            // The kernel's own encoding (`new_encode_dev`) has 32 bits; the C library only widens the type.
            rdev: stat.st_rdev as u32,
            size: stat.st_size as u64,
            mtime: Timestamp { sec: stat.st_mtime as i64, nsec: stat.st_mtime_nsec as u32 },
            ctime: Timestamp { sec: stat.st_ctime as i64, nsec: stat.st_ctime_nsec as u32 },
        }
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        Kind::from_mode(self.mode)
    }

    /// Names the inode on this machine.
    pub(crate) fn key(&self) -> InodeKey {
        (self.device, self.ino)
    }

    /// Whether both are of the same inode and type.
    pub(crate) fn is_same_inode(&self, other: &InodeStat) -> bool {
        self.key() == other.key() && self.kind() == other.kind()
    }

    /// Whether, as far as the clock of the file system goes, nothing was written between the two.
    pub(crate) fn is_unchanged(&self, later: &InodeStat) -> bool {
        self.is_same_inode(later) && (self.size, self.mtime, self.ctime) == (later.size, later.mtime, later.ctime)
    }
}

impl InodeStat {
    /// The metadata as the tree takes it. What an inode that is no regular file has for a size says nothing about it.
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
