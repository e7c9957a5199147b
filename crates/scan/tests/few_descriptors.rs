//! A test in a process of its own, since it lowers the process's limit of open files.

mod support;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn a_deep_tree_takes_few_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let mode = Mode::from_raw_mode(0o755);
    let mut at = openat(CWD, dir.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..500 {
        for name in ["a", "b", "m", "y", "z"] {
            mkdirat(&at, name, mode).unwrap();
        }
        at = openat(&at, "m", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    drop(at);
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: before.maximum }).unwrap();
    let trees: Vec<_> =
        [1, 4].into_iter().map(|threads| support::scan_with(dir.path(), &support::options(threads))).collect();
    setrlimit(Resource::Nofile, before).unwrap();
    for tree in trees {
        assert_eq!(tree.unwrap().entry_count(), 2500);
    }
}
