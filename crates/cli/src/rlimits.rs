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

/// How many threads to use where `asked` are asked for.
pub(crate) fn threads(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    libcomposefs_content::thread_count(asked)
}

/// Reads the value of `--threads`. A number too large for the type is as good as the largest: [`threads`] bounds it.
pub(crate) fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_number { text.parse().unwrap_or(usize::MAX) } else { 0 };
    NonZeroUsize::new(number).ok_or_else(|| "expected a number of threads, 1 or more".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_threads_is_one_or_more() {
        let parsed = |text| parse_threads(text).map(NonZeroUsize::get).ok();
        assert_eq!(["1", "007", "4294967296"].map(parsed), [Some(1), Some(7), Some(4_294_967_296)]);
        assert_eq!(parsed("18446744073709551616"), Some(usize::MAX));
        assert_eq!(["0", "00", "-1", "+1", "", " 3", "3x", "abc", "0x10"].map(parsed), [None; 9]);
    }
}
