//! Helpers shared by the tests of the store.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libcomposefs_content::NoProgress;
use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_scan::{Options, scan};
use libcomposefs_store::{ObjectDir, StorePolicy, VerifyExisting};

pub(crate) fn store(path: &Path) -> ObjectDir {
    let policy = StorePolicy::default().with_verify_existing(VerifyExisting::Contents);
    ObjectDir::create(path, Algorithm::Sha256, policy).unwrap()
}

/// Stores one content in a batch of its own.
pub(crate) fn put(store: &ObjectDir, content: &[u8]) -> (Digest, libcomposefs_store::PutOutcome) {
    let batch = store.batch();
    let put = batch.put_bytes(content).unwrap();
    batch.finish().unwrap();
    put
}

/// Lists all files below a directory, relative and sorted.
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

/// Asserts that a store has only objects that match their names, with the right mode. Returns their number.
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

/// Environment variable that tells [`fill_if_asked`] to fill a store.
const FILL: &str = "COMPOSEFS_TEST_FILL";

/// Returns the command that makes this test program, run again, fill a store. Tracing needs a separate process, and a
/// separate program could be out of date.
pub(crate) fn fill_command(source: &Path, store: &Path) -> (PathBuf, [&'static str; 3], (&'static str, String)) {
    let both = format!("{}\n{}", source.display(), store.display());
    (std::env::current_exe().unwrap(), ["--exact", "fills_a_store_when_asked", "--nocapture"], (FILL, both))
}

/// The body of the test `fills_a_store_when_asked` of each test program.
pub(crate) fn fill_if_asked() {
    let Ok(both) = std::env::var(FILL) else { return };
    let (source, path) = both.split_once('\n').unwrap();
    let store = store(Path::new(path));
    let batch = store.batch();
    scan(Path::new(source), &Options::default(), &batch, &NoProgress).unwrap();
    batch.finish().unwrap();
}
