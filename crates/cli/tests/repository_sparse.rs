//! Sparse files stay sparse through all commands that store or copy contents.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::skip;

fn run(name: &str, arguments: &[&str]) -> Outcome {
    Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name }.run(arguments, b"").ok()
}

fn composefs(arguments: &[&str]) -> Outcome {
    run("composefs", arguments)
}

/// Returns the blocks of each file of more than 100,000 bytes below a directory, by length.
fn blocks_by_length(directory: &str) -> Vec<(u64, u64)> {
    let (mut found, mut waiting) = (Vec::new(), vec![PathBuf::from(directory)]);
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else if metadata.len() > 100_000 {
                found.push((metadata.len(), metadata.blocks()));
            }
        }
    }
    found.sort_unstable();
    found
}

/// Asserts that no file uses more blocks than the source's file of the same length, apart from metadata blocks of the
/// file system.
#[track_caller]
fn assert_as_sparse(directory: &str, source: &[(u64, u64)]) {
    let found = blocks_by_length(directory);
    let lengths = |files: &[(u64, u64)]| files.iter().map(|file| file.0).collect::<Vec<_>>();
    assert_eq!(lengths(&found), lengths(source), "{directory}");
    for (found, source) in found.iter().zip(source) {
        assert!(found.1 <= source.1 + 32, "{directory}: {} bytes: {} blocks, not {}", found.0, found.1, source.1);
    }
}

#[test]
fn sparse_files_stay_sparse_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let repository = |name: &str| {
        let _ = composefs(&["init", "--insecure", &path(name)]);
        path(name)
    };
    // A bundle contains the zeros, so it is made with a shorter file.
    for (name, size) in [("long", 1u64 << 30), ("short", 24 << 20)] {
        let tree = path(name);
        fs::create_dir(&tree).unwrap();
        let sparse = |file: &str, len: u64, places: &[u64]| {
            let file = fs::File::create(format!("{tree}/{file}")).unwrap();
            file.set_len(len).unwrap();
            places.iter().for_each(|&place| file.write_all_at(b"not zero", place).unwrap());
        };
        sparse("disk", size, &[5000, size / 2 + 77, size - 8]);
        sparse("ends in a hole", size + 1, &[size / 3]);
        sparse("in memory", 900_000, &[300_000]);
        sparse("a hole", 1_000_001, &[]);
        let source = blocks_by_length(&tree);
        if source.iter().any(|file| file.1 > 100) {
            return skip::announce("sparse_files_stay_sparse_everywhere", "this file system has no holes");
        }
        // The file system cannot report where these zeros are.
        fs::write(format!("{tree}/zeros"), vec![0; 3_000_000]).unwrap();
        let mut source = source;
        source.push((3_000_000, 0));
        source.sort_unstable();

        let (one, two, three) = (repository("one"), repository("two"), repository("three"));
        let _ = composefs(&["--repo", &one, "create", &tree, "--name", "it"]);
        assert_as_sparse(&format!("{one}/objects"), &source);
        let _ = composefs(&["--repo", &two, "sync", &one]);
        assert_as_sparse(&format!("{two}/objects"), &source);
        let (store, image, out) = (path("its-store"), path("its-image"), path("out"));
        let _ = run("mkcomposefs", &[&format!("--digest-store={store}"), &tree, &image]);
        assert_as_sparse(&store, &source);
        for (options, threads) in [(&["--basedir"][..], "--threads=1"), (&["--basedir"], "--threads=3")] {
            let _ = composefs(&[&["extract", &image, &out, threads][..], options, &[&store]].concat());
            assert_as_sparse(&out, &source);
            assert!(fs::read(format!("{out}/in memory")).unwrap() == fs::read(format!("{tree}/in memory")).unwrap());
            fs::remove_dir_all(&out).unwrap();
        }
        if name == "long" {
            let _ = composefs(&["--repo", &three, "import", &image, "--basedir", &store]);
        } else {
            let bundle = path("bundle");
            let _ = composefs(&["--repo", &one, "export", "it", "--output", &bundle]);
            let _ = composefs(&["--repo", &three, "import", &bundle]);
        }
        assert_as_sparse(&format!("{three}/objects"), &source);
        for repo in [&one, &two, &three] {
            let _ = composefs(&["--repo", repo, "fsck"]);
            fs::remove_dir_all(repo).unwrap();
        }
        fs::remove_dir_all(&store).unwrap();
    }
}
