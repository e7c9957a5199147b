//! `composefs seal` without fs-verity (the tests in a guest have fs-verity), and the warning about verified mounts of
//! objects that cannot be sealed.

use std::fs::{self, File};
use std::path::Path;

use libcomposefs_sys::verity::{Measurement, measure};
use libcomposefs_testkit::program::{Outcome, Program};
use serde_json::Value;
use tempfile::TempDir;

fn composefs(arguments: &[&Path]) -> Outcome {
    Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "composefs" }.run(arguments, b"")
}

/// A directory on tmpfs, which has no fs-verity.
fn without_verity() -> TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    assert_eq!(measure(File::open(dir.path()).unwrap()).unwrap(), Measurement::Unsupported);
    dir
}

#[test]
fn refusal_names_the_file_the_reason_and_the_doctor() {
    let dir = without_verity();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    fs::write(&one, "one").unwrap();
    fs::write(&two, "two").unwrap();
    let ran = composefs(&[Path::new("seal"), &one, &two]);
    assert_eq!((ran.status, ran.stdout.len()), (Some(1), 0), "{}", ran.stderr);
    for path in [&one, &two] {
        let message = format!("composefs: cannot seal {}: tmpfs does not support fs-verity\n", path.display());
        assert!(ran.stderr.contains(&message), "{}", ran.stderr);
    }
    let doctor = format!("`composefs doctor {}` checks the directory", dir.path().display());
    assert!(ran.stderr.contains("remedy: ") && ran.stderr.contains(&doctor), "{}", ran.stderr);
    assert_eq!(fs::read(&one).unwrap(), b"one");
    let json = composefs(&[Path::new("seal"), Path::new("--json"), &one]);
    assert_eq!((json.status, serde_json::from_slice::<Value>(&json.stdout).unwrap()), (Some(1), Value::Array(vec![])));
}

#[test]
fn only_regular_files_are_sealed() {
    let dir = tempfile::tempdir().unwrap();
    for (path, reason) in [(dir.path().join("none"), "No such file"), (dir.path().to_owned(), "it is a directory")] {
        let ran = composefs(&[Path::new("seal"), &path]);
        assert_eq!(ran.status, Some(1));
        assert!(ran.stderr.contains(&format!("cannot seal {}: {reason}", path.display())), "{}", ran.stderr);
    }
    assert_eq!(composefs(&[Path::new("seal")]).status, Some(2));
}

#[test]
fn mount_warns_about_objects_that_cannot_be_verified() {
    let dir = without_verity();
    let (tree, objects, image) = (dir.path().join("tree"), dir.path().join("objects"), dir.path().join("image"));
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "content ".repeat(100)).unwrap();
    let store = format!("--digest-store={}", objects.display());
    let mkcomposefs = dir.path().join("mkcomposefs");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_composefs"), &mkcomposefs).unwrap();
    let built = Program { path: &mkcomposefs, name: "mkcomposefs" }.run([Path::new(&store), &tree, &image], b"").ok();
    assert_eq!(built.stderr, "");
    let mount = |options: &str| {
        let options = format!("basedir={},{options}", objects.display());
        let words = [Path::new("mount"), &image, &tree, Path::new("--dry-run"), Path::new("-o"), Path::new(&options)];
        composefs(&words).ok().stderr
    };
    let warning = format!("composefs: warning: files with objects in {} cannot be read", objects.display());
    for verified in ["verity_check=1", "verity_check=2", "verity"] {
        let said = mount(verified);
        assert!(said.contains(&warning) && said.contains("composefs doctor"), "{verified}: {said}");
    }
    for unverified in ["verity_check=0", "nodev"] {
        assert_eq!(mount(unverified), "", "{unverified}");
    }
}
