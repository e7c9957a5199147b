//! Checking that a file still has the content it had when it was found.
//!
//! File systems record a change of a content in the inode's ctime, in ticks of their clock. Two changes within one
//! tick look alike, but a file that last changed well before the batch began cannot change now without getting
//! another ctime. (Git calls the other files racily clean.)
//!
//! Writes through a shared mapping cannot bypass this check, because cloning flushes dirty pages first, and the next
//! write to a clean page updates the ctime (`page_mkwrite`). Cloning waits for direct writes.

use std::sync::OnceLock;

use libcomposefs_content::SourceFile;
use libcomposefs_image::tree::Timestamp;
use libcomposefs_sys::fs_magic::FsMagic;
use rustix::fd::AsFd;
use rustix::time::{ClockId, clock_gettime};

/// Many ticks, for any clock of a file system.
const LONG_AGO_SEC: i64 = 2;

/// File systems that use this machine's clock and behave as described.
const KNOWN: [FsMagic; 3] = [FsMagic::XFS, FsMagic::BTRFS, FsMagic::BCACHEFS];

/// Detects files that cannot have changed unnoticed since a point in time.
#[derive(Debug)]
pub(crate) struct UnchangedCheck {
    begun: i64,
    is_known: OnceLock<bool>,
}

impl UnchangedCheck {
    /// Starts the check for files that are found from now on.
    pub(crate) fn begin() -> Self {
        Self { begun: clock_gettime(ClockId::RealtimeCoarse).tv_sec, is_known: OnceLock::new() }
    }

    /// Returns true if a file that was cloned after it was found, and read after that, certainly had the same content
    /// all the time. `clone` is on the same file system.
    pub(crate) fn is_unchanged(&self, source: &SourceFile<'_>, clone: impl AsFd) -> bool {
        let is_known = || *self.is_known.get_or_init(|| FsMagic::is_one_of(&KNOWN, &clone));
        self.is_long_ago(source.changed)
            && is_known()
            && SourceFile::of(source.file).is_ok_and(|now| (now.size, now.changed) == (source.size, source.changed))
    }

    fn is_long_ago(&self, changed: Timestamp) -> bool {
        changed.sec.saturating_add(LONG_AGO_SEC) < self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_and_future_changes_are_not_trusted() {
        let unchanged = UnchangedCheck { begun: 1000, is_known: OnceLock::new() };
        for (sec, long_ago) in [(-5, true), (0, true), (997, true), (998, false), (1000, false), (i64::MAX, false)] {
            assert_eq!(unchanged.is_long_ago(Timestamp { sec, nsec: 0 }), long_ago, "{sec}");
        }
    }
}
