//! What the tests of the store share.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use composefs_image::{Algorithm, Digest, verity};
use composefs_store::{ObjectDir, Policy};

pub(crate) fn store(path: &Path) -> ObjectDir {
    ObjectDir::create(path, Algorithm::Sha256, Policy::default()).unwrap()
}

/// Puts one content in, as a batch of its own.
pub(crate) fn put(store: &ObjectDir, content: &[u8]) -> (Digest, composefs_store::Outcome) {
    let batch = store.batch();
    let put = batch.put_bytes(content).unwrap();
    batch.finish().unwrap();
    put
}

/// Every file below a directory, relative, in order.
pub(crate) fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut stack = vec![root.to_owned()];
    while let Some(directory) = stack.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                stack.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// That there is nothing but objects that match their names, with the right mode; returns how many.
pub(crate) fn assert_sound(root: &Path) -> usize {
    let files = files(root);
    for file in &files {
        let path = root.join(file);
        let found = verity::digest(Algorithm::Sha256, &fs::read(&path).unwrap());
        assert_eq!(file.to_str().unwrap(), found.object_path(), "an object does not match its name");
        let mode = path.symlink_metadata().unwrap().permissions().mode();
        assert_eq!(mode, 0o100644, "{}", path.display());
    }
    files.len()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The example program `fill`, that cargo builds along with the tests.
pub(crate) fn fill_program() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples/fill");
    assert!(path.exists(), "cargo has not built {}", path.display());
    path
}
