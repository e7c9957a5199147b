//! What the kernel lets the process have.

use rustix::process::{Resource, getrlimit};

/// How many files the process may have open (the soft `RLIMIT_NOFILE`); `usize::MAX` if there is no limit.
#[must_use]
pub fn open_files_max() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
