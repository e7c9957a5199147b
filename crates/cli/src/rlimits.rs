//! Limits on open files and threads.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard limit: objects and directories wait in queues as open descriptors,
/// and the soft limit is only low for the sake of programs that use `select`, which this one does not.
pub(crate) fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // If this fails, work is done in smaller steps.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Returns the number of threads to use, given the value of `--threads`.
pub(crate) fn threads(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    libcomposefs_content::thread_count(asked)
}

/// Parses the value of `--threads`. A number too large for the type is read as the largest value: [`threads`] limits
/// it.
pub(crate) fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_number { text.parse().unwrap_or(usize::MAX) } else { 0 };
    NonZeroUsize::new(number).ok_or_else(|| "expected a number of threads, 1 or more".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_count_must_be_at_least_one() {
        let parsed = |text| parse_threads(text).map(NonZeroUsize::get).ok();
        assert_eq!(["1", "007", "4294967296"].map(parsed), [Some(1), Some(7), Some(4_294_967_296)]);
        assert_eq!(parsed("18446744073709551616"), Some(usize::MAX));
        assert_eq!(["0", "00", "-1", "+1", "", " 3", "3x", "abc", "0x10"].map(parsed), [None; 9]);
    }
}
