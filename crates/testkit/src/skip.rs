//! Tests that cannot run here: named, with the reason, and never counted as passed by mistake.

use std::io::Write;

/// Says on stderr that a test is skipped and why; panics if `COMPOSEFS_NO_SKIP` is set.
pub fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os("COMPOSEFS_NO_SKIP").is_none(), "{test} would be skipped: {reason}");
    // In one piece, as other tests print as well, and past the test harness, which would keep it to itself.
    let line = format!("SKIPPED {test}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
}
