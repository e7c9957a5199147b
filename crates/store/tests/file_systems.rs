//! Tests on other file systems, which need root.

mod support;

use std::collections::HashSet;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libcomposefs_content::{NoProgress, SourceFile};
use libcomposefs_image::{Algorithm, verity};
use libcomposefs_scan::{Options, scan};
use libcomposefs_store::{Basedirs, Error, ObjectDir, PutOutcome, extract};
use libcomposefs_testkit::privilege::is_root;
use libcomposefs_testkit::skip;
use support::{assert_sound, files, store};
use tempfile::{TempDir, tempdir};

/// A mounted file system, unmounted at the end of the test.
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
            fs::write(source.join(format!("{i}")), vec![i as u8 + 1; size]).unwrap();
        }
        let store = store(&mounted.0.join("store"));
        let batch = store.batch();
        let error = scan(&source, &Options::default(), &batch, &NoProgress).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        drop(batch);
        assert!(files(store.path()).is_empty());
    }
}

/// Runs a test on each file system that can share extents.
fn on_file_systems_that_clone(test: &str, run: impl Fn(&str, &Path)) {
    if !is_root() {
        return skip::announce(test, "mounting takes root");
    }
    for kind in ["xfs", "btrfs"] {
        match mount_image(kind) {
            Ok((mounted, _image)) => run(kind, &mounted.0),
            Err(reason) => skip::announce(&format!("{test} ({kind})"), &reason),
        }
    }
}

/// Returns the number of extents that a file shares with another one.
fn shared_extents(path: &Path) -> usize {
    let output = Command::new("filefrag").arg("-v").arg(path).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().filter(|l| l.contains("shared")).count()
}

#[test]
fn files_are_cloned_where_that_can_be() {
    let test = "files_are_cloned_where_that_can_be";
    on_file_systems_that_clone(test, |kind, mounted| {
        let (source, objects) = (mounted.join("source"), mounted.join("store"));
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
        // Extents cannot be shared across file systems; the content is copied instead.
        let other = tempdir().unwrap();
        fs::write(other.path().join("f"), vec![b'f'; 2_000_000]).unwrap();
        let file = fs::File::open(other.path().join("f")).unwrap();
        let batch = store.batch();
        let from = SourceFile::of(file.as_fd()).unwrap();
        assert_eq!(batch.put_file(&from, &mut vec![0; 1 << 20]).unwrap().1, PutOutcome::New);
        batch.finish().unwrap();
        assert_eq!(assert_sound(&objects), 4);
    });
}

#[test]
fn objects_are_cloned_back_and_the_clones_compared() {
    let test = "objects_are_cloned_back_and_the_clones_compared";
    on_file_systems_that_clone(test, |kind, mounted| {
        let (source, objects) = (mounted.join("source"), mounted.join("store"));
        fs::create_dir(&source).unwrap();
        for (name, size) in [("middle", 300_000), ("large", 5_000_000)] {
            fs::write(source.join(name), vec![name.as_bytes()[0]; size]).unwrap();
        }
        let (store, basedirs) = (store(&objects), Basedirs::open(&[&objects]).unwrap());
        let batch = store.batch();
        let tree = scan(&source, &Options::default(), &batch, &NoProgress).unwrap();
        batch.finish().unwrap();
        let extract_to = |target: &Path| {
            let (all, options) = (extract::Selection::all(), extract::Options::default());
            extract::extract(&tree, &all, &basedirs, target, &options, &NoProgress).unwrap()
        };
        let outcome = extract_to(&mounted.join("out"));
        assert_eq!((outcome.is_whole(), outcome.cloned_bytes), (true, 5_300_000), "{kind}");
        for name in ["middle", "large"] {
            let file = mounted.join("out").join(name);
            assert!(fs::read(&file).unwrap() == fs::read(source.join(name)).unwrap(), "{kind} {name}");
            assert!(shared_extents(&file) > 0, "{kind} {name}");
        }
        // The same length, with one byte changed.
        let object = files(&objects).into_iter().map(|object| objects.join(object));
        let object = object.max_by_key(|object| object.metadata().unwrap().len()).unwrap();
        let damaged = fs::File::options().write(true).open(&object).unwrap();
        rustix::io::pwrite(&damaged, b"?", 4_000_000).unwrap();
        let outcome = extract_to(&mounted.join("again"));
        let names: Vec<_> = files(&mounted.join("again"));
        assert_eq!((outcome.is_whole(), names), (false, vec![PathBuf::from("middle")]), "{kind}");
    });
}

#[test]
fn sparse_files_stay_sparse_as_clones_and_as_copies() {
    let test = "sparse_files_stay_sparse_as_clones_and_as_copies";
    let sparse = |directory: &Path| {
        fs::create_dir(directory).unwrap();
        for (name, len) in [("large", 2 << 30), ("middle", 900_000)] {
            let file = fs::File::create(directory.join(name)).unwrap();
            file.set_len(len).unwrap();
            rustix::io::pwrite(&file, name.as_bytes(), len / 2).unwrap();
        }
    };
    on_file_systems_that_clone(test, |kind, mounted| {
        let other = tempdir().unwrap();
        let (cloned, copied) = (mounted.join("source"), other.path().join("source"));
        sparse(&cloned);
        sparse(&copied);
        for (name, source) in [("cloned", &cloned), ("copied", &copied)] {
            let objects = mounted.join(name);
            let store = store(&objects);
            let batch = store.batch();
            scan(source, &Options::default(), &batch, &NoProgress).unwrap();
            assert_eq!(batch.finish().unwrap().new, 2);
            for object in files(&objects) {
                let blocks = objects.join(&object).metadata().unwrap().blocks();
                assert!(blocks <= 256, "{kind}, {name}: {} has {blocks} blocks", object.display());
            }
        }
        assert_eq!(files(&mounted.join("cloned")), files(&mounted.join("copied")), "{kind}");
    });
}

/// Returns the number of bytes of a file in the page cache.
fn in_memory(path: &Path) -> u64 {
    let output = Command::new("fincore").args(["--bytes", "--noheadings", "--output=RES"]).arg(path).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

/// Stores each file in a new store. Returns the path of the largest object.
fn largest_object(source: &Path, objects: &Path) -> PathBuf {
    let store = store(objects);
    let batch = store.batch();
    scan(source, &Options::default(), &batch, &NoProgress).unwrap();
    batch.finish().unwrap();
    let objects = files(objects).into_iter().map(|object| objects.join(object));
    objects.max_by_key(|object| object.metadata().unwrap().len()).unwrap()
}

#[test]
fn unchanged_files_are_cloned_without_reading_the_clone() {
    let test = "unchanged_files_are_cloned_without_reading_the_clone";
    on_file_systems_that_clone(test, |kind, mounted| {
        let source = mounted.join("source");
        fs::create_dir(&source).unwrap();
        for (name, size) in [("middle", 300_000), ("large", 5_000_000)] {
            fs::write(source.join(name), vec![name.as_bytes()[0]; size]).unwrap();
        }
        // Written a moment ago: the clone is read.
        let object = largest_object(&source, &mounted.join("fresh"));
        assert!(in_memory(&object) >= 5_000_000, "{kind}");
        std::thread::sleep(std::time::Duration::from_secs(4));
        let object = largest_object(&source, &mounted.join("settled"));
        assert_eq!((in_memory(&object), shared_extents(&object) > 0), (0, true), "{kind}");
        for store in ["fresh", "settled"] {
            assert_eq!(assert_sound(&mounted.join(store)), 2, "{kind}");
        }
    });
}

/// Stops a thread, also if a test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Stored objects must have the digest in their name, as in `races.rs`, but for clones.
#[test]
fn clones_of_a_file_that_is_being_changed_have_their_own_digests() {
    let test = "clones_of_a_file_that_is_being_changed_have_their_own_digests";
    on_file_systems_that_clone(test, |kind, mounted| {
        let path = mounted.join("file");
        fs::write(&path, vec![b'0'; 2_000_000]).unwrap();
        let writer = fs::File::options().write(true).open(&path).unwrap();
        let reader = fs::File::open(&path).unwrap();
        let stop = AtomicBool::new(false);
        let contents = std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    rustix::io::pwrite(&writer, &u64::to_le_bytes(i), (i % 400) * 4096).unwrap();
                }
            });
            let _stop = Stop(&stop);
            let mut contents = HashSet::new();
            for number in 0..30 {
                let store = store(&mounted.join(format!("store-{number}")));
                let batch = store.batch();
                let found = SourceFile::of(reader.as_fd()).unwrap();
                contents.insert(batch.put_file(&found, &mut vec![0; 1 << 16]).unwrap().0);
                batch.finish().unwrap();
                assert_eq!(assert_sound(store.path()), 1, "{kind}");
            }
            contents
        });
        assert!(contents.len() > 10, "{kind}: {} contents: the race was not run", contents.len());
    });
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
    // Existing objects are still found.
    assert_eq!(support::put(&store, b"present").1, PutOutcome::Present);
}

/// Clones a file, changes it by `change`, and stores the clone with the digest of what the file has then.
fn put_clone_after(store: &ObjectDir, path: &Path, change: impl FnOnce()) -> Result<PutOutcome, Error> {
    let file = Arc::new(fs::File::open(path).unwrap().into());
    let batch = store.batch();
    let clone = batch.clone_file(&file)?.expect("the file system can clone");
    change();
    let put = batch.put_clone(clone, verity::digest(Algorithm::Sha256, &fs::read(path).unwrap()));
    batch.finish()?;
    put
}

#[test]
fn a_clone_is_stored_if_the_file_is_still_the_same() {
    let test = "a_clone_is_stored_if_the_file_is_still_the_same";
    on_file_systems_that_clone(test, |kind, mounted| {
        let old = mounted.join("old");
        fs::write(&old, vec![b'o'; 200_000]).unwrap();
        // A file whose last change is this long ago is not read a second time.
        std::thread::sleep(Duration::from_millis(3100));
        let new = mounted.join("new");
        fs::write(&new, vec![b'n'; 200_000]).unwrap();
        for (number, path) in [&old, &new].into_iter().enumerate() {
            let store = store(&mounted.join(format!("store-{number}")));
            assert_eq!(put_clone_after(&store, path, || ()).unwrap(), PutOutcome::New, "{kind}");
            assert_eq!(assert_sound(store.path()), 1, "{kind}");
            let object = store.path().join(&files(store.path())[0]);
            assert!(shared_extents(&object) > 0, "{kind}");
            // Another clone of it would be made in vain.
            let file = Arc::new(fs::File::open(path).unwrap().into());
            assert!(store.batch().clone_file(&file).unwrap().is_none());
        }
        for (number, path) in [&old, &new].into_iter().enumerate() {
            let store = store(&mounted.join(format!("changed-{number}")));
            let writer = fs::File::options().write(true).open(path).unwrap();
            let change = || assert_eq!(rustix::io::pwrite(&writer, b"changed", 100_000).unwrap(), 7);
            let put = put_clone_after(&store, path, change);
            assert!(matches!(put, Err(Error::ChangedWhileStoring { .. })), "{kind}: {put:?}");
            assert_eq!(files(store.path()).len(), 0, "{kind}");
        }
    });
}

#[test]
fn a_file_that_cannot_be_cloned_gives_none() {
    let (dir, other) = (tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    fs::write(other.path().join("f"), vec![b'f'; 200_000]).unwrap();
    let file = Arc::new(fs::File::open(other.path().join("f")).unwrap().into());
    let store = store(dir.path());
    let batch = store.batch();
    assert!(batch.may_clone(&file).unwrap());
    assert!(batch.clone_file(&file).unwrap().is_none());
    assert!(!batch.may_clone(&file).unwrap());
}
