//! Tests that cannot run here: shown by name and reason, never silently passed.
//!
//! With `COMPOSEFS_NO_SKIP=1` in the environment a test that would be skipped fails instead: for machines that are
//! meant to run everything. `COMPOSEFS_SKIP_LOG` names a file that collects the skips, a name, a tab and the reason in
//! each line: the report of a test program has no room for them, and counts an ordinary `#[test]` as passed.

use std::fs::File;
use std::io::Write as _;

use libtest_mimic::{Failed, Trial};

/// Returns `true` if a skipped test counts as failed.
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
    tell(name, reason);
    Trial::test(name, run).with_ignored_flag(true)
}

fn tell(name: &str, reason: &str) {
    // In one piece, as other tests print as well, and past the test harness, which would keep it to itself.
    let line = format!("SKIPPED {name}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
    if let Some(log) = std::env::var_os("COMPOSEFS_SKIP_LOG") {
        // One write: tests run at the same time.
        let line = format!("{name}\t{}\n", reason.replace('\n', " "));
        let written = File::options().append(true).open(&log).and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("cannot write to {}: {error}", log.display()));
    }
}

/// Announces from within an ordinary `#[test]` that it cannot run; the test returns afterwards. `name` is the test's
/// as the test program prints it, with its modules.
///
/// # Panics
///
/// If skipping is forbidden.
pub fn announce(name: &str, reason: &str) {
    assert!(!forbidden(), "{name} cannot run here, and COMPOSEFS_NO_SKIP forbids to skip it: {reason}");
    tell(name, reason);
}
