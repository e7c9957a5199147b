//! What the process may use: open files and processors.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one: objects and directories wait open, and the soft limit is low for
/// programs that use `select`, which this one does not.
pub(crate) fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Without it the work only goes in smaller steps.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// How many threads: so many as were asked for, else one for each processor that may be used.
pub(crate) fn threads(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    asked.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}
