//! Other file systems than the one the tests run on: these take root.

mod support;

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use composefs_scan::{NoProgress, Options, SourceFile, scan};
use composefs_store::Outcome;
use composefs_testkit::privilege::is_root;
use composefs_testkit::skip;
use support::{assert_sound, files, store};
use tempfile::{TempDir, tempdir};

/// A mounted file system that goes with the test.
struct Mounted(PathBuf, #[allow(dead_code)] TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

fn mount(arguments: &[&str]) -> Result<Mounted, String> {
    let dir = tempdir().unwrap();
    let at = dir.path().join("mnt");
    fs::create_dir(&at).unwrap();
    run("mount", &[arguments, &[at.to_str().unwrap()]].concat())?;
    Ok(Mounted(at, dir))
}

fn mount_image(kind: &str) -> Result<(Mounted, TempDir), String> {
    let dir = tempdir().unwrap();
    let image = dir.path().join("image");
    fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
    let image = image.to_str().unwrap();
    run(&format!("mkfs.{kind}"), &["-q", image])?;
    Ok((mount(&["-t", kind, "-o", "loop", image])?, dir))
}

#[test]
fn a_full_file_system_is_an_error_and_leaves_no_half_object() {
    let test = "a_full_file_system_is_an_error_and_leaves_no_half_object";
    if !is_root() {
        return skip::announce(test, "mounting takes root");
    }
    let mounted = match mount(&["-t", "tmpfs", "-o", "size=1M", "tmpfs"]) {
        Ok(mounted) => mounted,
        Err(reason) => return skip::announce(test, &reason),
    };
    let dir = tempdir().unwrap();
    for (count, size) in [(40, 50_000), (1, 3_000_000)] {
        let source = dir.path().join(format!("{size}"));
        fs::create_dir(&source).unwrap();
        for i in 0..count {
            fs::write(source.join(format!("{i}")), vec![i as u8; size]).unwrap();
        }
        let store = store(&mounted.0.join("store"));
        let batch = store.batch();
        let error = scan(&source, &Options::default(), &batch, &NoProgress).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        drop(batch);
        assert!(files(store.path()).is_empty());
    }
}

/// How many extents of a file are shared with another one.
fn shared_extents(path: &Path) -> usize {
    let output = Command::new("filefrag").arg("-v").arg(path).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().filter(|l| l.contains("shared")).count()
}

#[test]
fn files_are_cloned_where_that_can_be() {
    let test = "files_are_cloned_where_that_can_be";
    if !is_root() {
        return skip::announce(test, "mounting takes root");
    }
    for kind in ["xfs", "btrfs"] {
        let (mounted, _image) = match mount_image(kind) {
            Ok(mounted) => mounted,
            Err(reason) => {
                skip::announce(&format!("{test} ({kind})"), &reason);
                continue;
            }
        };
        let (source, objects) = (mounted.0.join("source"), mounted.0.join("store"));
        fs::create_dir(&source).unwrap();
        for (name, size) in [("small", 1000), ("middle", 300_000), ("large", 5_000_000)] {
            fs::write(source.join(name), vec![name.as_bytes()[0]; size]).unwrap();
        }
        let store = store(&objects);
        let batch = store.batch();
        scan(&source, &Options::default(), &batch, &NoProgress).unwrap();
        assert_eq!(batch.finish().unwrap().new, 3);
        assert_eq!(assert_sound(&objects), 3, "{kind}");
        for object in files(&objects) {
            let object = objects.join(object);
            let large = object.metadata().unwrap().len() > 100_000;
            assert_eq!(shared_extents(&object) > 0, large, "{kind} {}", object.display());
        }
        // Across file systems nothing can be shared, and it works all the same.
        let other = tempdir().unwrap();
        fs::write(other.path().join("f"), vec![b'f'; 2_000_000]).unwrap();
        let file = fs::File::open(other.path().join("f")).unwrap();
        let batch = store.batch();
        let from = SourceFile { file: file.as_fd(), device: 77, size: 2_000_000 };
        assert_eq!(batch.put_file(&from, &mut vec![0; 1 << 20]).unwrap().1, Outcome::New);
        batch.finish().unwrap();
        assert_eq!(assert_sound(&objects), 4);
    }
}

#[test]
fn a_read_only_file_system_is_an_error() {
    let test = "a_read_only_file_system_is_an_error";
    if !is_root() {
        return skip::announce(test, "mounting takes root");
    }
    let mounted = match mount(&["-t", "tmpfs", "tmpfs"]) {
        Ok(mounted) => mounted,
        Err(reason) => return skip::announce(test, &reason),
    };
    let store = store(&mounted.0);
    support::put(&store, b"present");
    run("mount", &["-o", "remount,ro", mounted.0.to_str().unwrap()]).unwrap();
    let error = store.batch().put_bytes(b"new").unwrap_err().to_string();
    assert!(error.contains("Read-only file system"), "{error}");
    // What is there is found all the same.
    assert_eq!(support::put(&store, b"present").1, Outcome::Present);
}
