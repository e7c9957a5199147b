//! The 256 directories `xx` of a store, each opened once: a lookup relative to an open directory costs the kernel
//! less than a path, and no symlink can be swapped in.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use libcomposefs_sys::limits::open_files_max;
use rustix::fs::{Mode, OFlags, openat};

pub(crate) const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// If the process may have fewer files open than this, the directories are not kept open.
const FILES_MIN: usize = 1024;

#[derive(Debug)]
pub(crate) struct FanoutDirs {
    open: [OnceLock<OwnedFd>; 256],
    keep: bool,
}

impl FanoutDirs {
    pub(crate) fn new() -> Self {
        Self { open: [const { OnceLock::new() }; 256], keep: open_files_max() >= FILES_MIN }
    }

    /// Returns one of the directories, if it exists: kept open, or opened for the caller.
    pub(crate) fn get(&self, store: BorrowedFd<'_>, first: u8) -> rustix::io::Result<FanoutDir<'_>> {
        let kept = &self.open[usize::from(first)];
        if let Some(fan) = kept.get() {
            return Ok(FanoutDir::Kept(fan.as_fd()));
        }
        let fan = openat(store, format!("{first:02x}"), OPEN_DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(if self.keep { FanoutDir::Kept(kept.get_or_init(|| fan).as_fd()) } else { FanoutDir::Opened(fan) })
    }
}

/// An open directory `xx`.
pub(crate) enum FanoutDir<'s> {
    Kept(BorrowedFd<'s>),
    Opened(OwnedFd),
}

impl AsFd for FanoutDir<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            FanoutDir::Kept(fan) => *fan,
            FanoutDir::Opened(fan) => fan.as_fd(),
        }
    }
}
