//! A signal cancels a command that waits for input, and nothing is left behind.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use libcomposefs_testkit::program::Program;

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

/// Returns true once the program catches SIGTERM, by the bit in `SigCgt` of its status in /proc.
fn catches_sigterm(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (15 - 1)) != 0
}

#[test]
fn a_signal_cancels_an_import_from_an_idle_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("r");
    let repository = repository.to_str().unwrap();
    let init = ["--repo", repository, "init", "--insecure"];
    let _ = Program { path: Path::new(COMPOSEFS), name: "composefs" }.run(init, b"").ok();
    let mut import = Command::new(COMPOSEFS);
    import.args(["--repo", repository, "import", "-"]);
    let mut child = import.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // The other end stays open, and nothing is written to it.
    let input = child.stdin.take();
    while !catches_sigterm(&child) {
        std::thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(input);
    assert_eq!((output.status.code(), output.status.signal()), (Some(128 + 15), None));
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"), "{output:?}");
}
