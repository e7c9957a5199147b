//! Tests that cannot run here: shown by name and reason, never silently passed.
//!
//! With `COMPOSEFS_NO_SKIP=1` in the environment a test that would be skipped fails instead: for machines that are
//! meant to run everything.

use libtest_mimic::{Failed, Trial};

/// Whether skipping counts as failing.
#[must_use]
pub fn forbidden() -> bool {
    std::env::var_os("COMPOSEFS_NO_SKIP").is_some_and(|value| value == "1")
}

/// A test of a `harness = false` target. With `unmet`, what the machine lacks for it, it is listed as ignored and
/// announced as skipped.
pub fn trial(name: &str, unmet: Option<&str>, run: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    let Some(reason) = unmet else { return Trial::test(name, run) };
    if forbidden() {
        let message = format!("cannot run here, and COMPOSEFS_NO_SKIP forbids to skip it: {reason}");
        return Trial::test(name, || Err(message.into()));
    }
    eprintln!("SKIPPED {name}: {reason}");
    Trial::test(name, run).with_ignored_flag(true)
}

/// Announces from within an ordinary `#[test]` that it cannot run; the test returns afterwards.
///
/// # Panics
///
/// If skipping is forbidden.
pub fn announce(name: &str, reason: &str) {
    assert!(!forbidden(), "{name} cannot run here, and COMPOSEFS_NO_SKIP forbids to skip it: {reason}");
    eprintln!("SKIPPED {name}: {reason}");
}
