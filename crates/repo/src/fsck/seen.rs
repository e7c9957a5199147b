//! What was under a name when it was judged, to be compared before something is done about it.
//!
//! A check takes hours, and others go on working meanwhile: what was wrong may have been put right. So nothing is taken away or
//! changed but the very thing that was judged.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Stat, statat};
use rustix::io::{Errno, Result};

use crate::dir::{Found, read_link};

/// What was under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A link with this text.
    Link(Vec<u8>),
    /// Anything else. Its last change counts too, as it may have been mended in place.
    Inode { device: u64, number: u64, size: i64, changed: (i64, i64) },
}

impl Seen {
    /// Looks at a name in a directory; `None` if nothing is there.
    pub(super) fn at(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Self>> {
        match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                Ok(match read_link(directory, name.as_bytes())? {
                    Found::Link(text) => Some(Self::Link(text)),
                    Found::Nothing | Found::Other => None,
                })
            }
            Ok(stat) => Ok(Some(Self::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// What has this status, and this name if it is a link; `None` if it is another by now.
    pub(super) fn having(stat: &Stat, directory: BorrowedFd<'_>, name: &OsStr) -> Option<Self> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Self::at(directory, name).ok().flatten().filter(|seen| matches!(seen, Self::Link(_))),
            _ => Some(Self::of(stat)),
        }
    }

    /// Whether this is the same file, whatever has changed.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Link(text), Self::Link(other)) => text == other,
            (Self::Inode { device, number, .. }, Self::Inode { device: other, number: other_number, .. }) => {
                (device, number) == (other, other_number)
            }
            _ => false,
        }
    }

    /// The same of a file that is open, or of anything else but a link.
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
