//! Limits of the process.

use rustix::process::{Resource, getrlimit};

/// Returns the number of files that the process may have open (the soft `RLIMIT_NOFILE`); `usize::MAX` without a limit.
#[must_use]
pub fn open_files_max() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
