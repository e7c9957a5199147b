//! Entries as they were judged, to be compared before they are changed.
//!
//! A check may take hours, and other processes may repair a damage meanwhile. So only the very entry that was judged is
//! moved or changed.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Stat, statat};
use rustix::io::{Errno, Result};

use crate::dir::{LinkEntry, read_link};

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SeenEntry {
    /// A symlink with this text.
    Link(Vec<u8>),
    /// An inode of another type. Its ctime counts too, as it may have been changed in place.
    Inode { device: u64, number: u64, size: i64, changed: (i64, i64) },
}

impl SeenEntry {
    /// Reads an entry of a directory; `None` if it does not exist.
    pub(super) fn at(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Self>> {
        match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                Ok(match read_link(directory, name.as_bytes())? {
                    LinkEntry::Link(text) => Some(Self::Link(text)),
                    LinkEntry::Nothing | LinkEntry::Other => None,
                })
            }
            Ok(stat) => Ok(Some(Self::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Returns the entry with this metadata, and this name if it is a symlink; `None` if the symlink is another by now.
    pub(super) fn having(stat: &Stat, directory: BorrowedFd<'_>, name: &OsStr) -> Option<Self> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Self::at(directory, name).ok().flatten().filter(|seen| matches!(seen, Self::Link(_))),
            _ => Some(Self::of(stat)),
        }
    }

    /// Returns whether both are the same file, whatever has changed.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Link(text), Self::Link(other)) => text == other,
            (Self::Inode { device, number, .. }, Self::Inode { device: other, number: other_number, .. }) => {
                (device, number) == (other, other_number)
            }
            _ => false,
        }
    }

    /// Returns the entry of an open file, or of anything else that is no symlink.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "the types differ between architectures")]
    pub(super) fn of(stat: &Stat) -> Self {
        Self::Inode {
            device: stat.st_dev as u64,
            number: stat.st_ino as u64,
            size: stat.st_size as i64,
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}
