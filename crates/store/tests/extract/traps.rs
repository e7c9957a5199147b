//! Targets with traps that lead outside: the files outside stay unchanged.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use libcomposefs_image::tree::Tree;
use libcomposefs_store::extract::{ExtractError, Options};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, openat, renameat_with};

use crate::place::{Place, ROOT, builder, directory, failures, inline, inode, names, symlink as link};

/// Directories, files, links and a FIFO, several levels deep.
fn tree() -> Tree {
    let mut tree = builder();
    for name in [b"a", b"b", b"c"] {
        let outer = tree.add(ROOT, name, &directory()).unwrap();
        let inner = tree.add(outer, b"d", &directory()).unwrap();
        for directory in [outer, inner] {
            for number in 0..5 {
                tree.add(directory, format!("f{number}").as_bytes(), &inline(b"content")).unwrap();
            }
            tree.add(directory, b"link", &link(b"/nowhere")).unwrap();
            tree.add(directory, b"fifo", &inode(0o010600)).unwrap();
        }
    }
    tree.finish()
}

/// A directory that must not be touched, and its files.
struct Outside<'p> {
    place: &'p Place,
    before: Vec<String>,
}

impl<'p> Outside<'p> {
    fn new(place: &'p Place) -> Self {
        fs::create_dir_all(place.path("outside/d")).unwrap();
        for name in ["f0", "d/f0", "fifo", "link"] {
            fs::write(place.path("outside").join(name), "sentinel").unwrap();
        }
        Self { place, before: Self::look(place) }
    }

    fn look(place: &Place) -> Vec<String> {
        let mut seen = Vec::new();
        for directory in ["outside", "outside/d"] {
            for name in [".".to_owned()].into_iter().chain(names(&place.path(directory))) {
                let path = place.path(directory).join(&name);
                let stat = path.symlink_metadata().unwrap();
                // A file of another type in its place must not block the test.
                let content = if stat.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                let times = (stat.mtime(), stat.mtime_nsec());
                seen.push(format!("{directory}/{name} {:o} {} {times:?} {content:?}", stat.mode(), stat.nlink()));
            }
        }
        seen
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(Self::look(self.place), self.before);
    }
}

#[test]
fn a_target_with_something_in_it_is_refused() {
    let place = Place::new();
    fs::create_dir(place.path("out")).unwrap();
    fs::write(place.path("out/mine"), "mine").unwrap();
    let error = place.extract_to(&tree(), &place.path("out"), &Options::default()).unwrap_err();
    assert!(matches!(error, ExtractError::NotEmpty { .. }), "{error}");
    assert_eq!(names(&place.path("out")), ["mine"]);
    fs::remove_file(place.path("out/mine")).unwrap();
    assert!(place.extract(&tree()).is_whole());
    let error = place.extract_to(&tree(), &place.path("none/out"), &Options::default()).unwrap_err();
    assert!(matches!(error, ExtractError::Target { step: "make the directory", .. }), "{error}");
}

#[test]
fn merging_follows_no_symlink_and_replaces_no_directory() {
    let place = Place::new();
    let outside = Outside::new(&place);
    let out = place.path("out");
    fs::create_dir_all(out.join("b/d")).unwrap();
    fs::create_dir_all(out.join("c/f1/kept")).unwrap();
    // In place of a directory, of a nested directory, of a file, and of a link.
    symlink(place.path("outside"), out.join("a")).unwrap();
    symlink(place.path("outside"), out.join("c/d")).unwrap();
    symlink(place.path("outside/f0"), out.join("b/f0")).unwrap();
    symlink(place.path("outside"), out.join("b/link")).unwrap();
    fs::hard_link(place.path("outside/fifo"), out.join("b/fifo")).unwrap();
    fs::write(out.join("b/d/mine"), "mine").unwrap();
    fs::write(out.join("b/d/f1"), "old").unwrap();
    fs::hard_link(out.join("b/d/f1"), place.path("old")).unwrap();
    fs::remove_file(out.join("b/fifo")).unwrap();
    let options = Options { merge: true, ..Options::default() };
    let outcome = place.extract_to(&tree(), &out, &options).unwrap();
    let [(path, message)] = &failures(&outcome)[..] else { panic!("{:?}", failures(&outcome)) };
    assert!(path == "/c/f1" && message.contains("has a directory of this name"), "{path}: {message}");
    outside.assert_untouched();
    for directory in ["a", "a/d", "c/d", "b/d"] {
        assert!(out.join(directory).symlink_metadata().unwrap().is_dir(), "{directory}");
        assert_eq!(fs::read(out.join(directory).join("f0")).unwrap(), b"content", "{directory}");
    }
    assert_eq!(fs::read_link(out.join("b/link")).unwrap(), Path::new("/nowhere"));
    // A replaced file is a new inode; files that are not in the tree stay.
    assert_eq!(fs::read(place.path("old")).unwrap(), b"old");
    assert_eq!(fs::read(out.join("b/d/mine")).unwrap(), b"mine");
    assert!(out.join("c/f1/kept").is_dir());
    assert_eq!(names(&out), ["a", "b", "c"]);
    // Once more over the same target.
    fs::remove_dir_all(out.join("c/f1")).unwrap();
    let again = place.extract_to(&tree(), &out, &options).unwrap();
    assert!(again.is_whole(), "{:?}", failures(&again));
}

/// Replaces every entry of the target by a symlink to the outside, and removes it again, in a loop.
fn attack(out: &Path, outside: &Path, ends: &AtomicBool, swaps: &AtomicU64) {
    let away = out.parent().unwrap().join("away");
    fs::create_dir_all(&away).unwrap();
    let trap = |name: &str| {
        let trap = away.join(format!("trap-{name}"));
        let _ = symlink(outside, &trap);
        trap
    };
    let traps: Vec<_> = ["a", "b", "c", "d"].map(|name| (name, trap(name))).into();
    // Not through its own symlinks: it would touch the files outside.
    let open = |at: BorrowedFd<'_>, path: &Path| {
        openat(at, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    };
    while !ends.load(Ordering::Relaxed) {
        let Ok(root) = open(CWD, out) else { continue };
        for (name, trap) in &traps {
            for directory in [".", "b", "a"] {
                let Ok(directory) = open(root.as_fd(), Path::new(directory)) else { continue };
                // Exchange them, and back.
                for _ in 0..2 {
                    if renameat_with(CWD, trap, &directory, *name, RenameFlags::EXCHANGE).is_ok() {
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

/// Ends the attack, also if the test fails.
struct EndAttack<'a>(&'a AtomicBool);

impl Drop for EndAttack<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nobody_leads_it_outside_while_it_runs() {
    let place = Place::new();
    let outside = Outside::new(&place);
    let (ends, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let rounds = if std::env::var_os("COMPOSEFS_FULL").is_some() { 2000 } else { 100 };
    let tree = tree();
    std::thread::scope(|scope| {
        scope.spawn(|| attack(&place.path("out"), &place.path("outside"), &ends, &swaps));
        let _end = EndAttack(&ends);
        for round in 0..rounds {
            let options = Options { merge: round % 2 == 1, ..Options::default() };
            // Extraction may fail, but must not write outside.
            let _ = place.extract_to(&tree, &place.path("out"), &options);
            if round % 2 == 1 {
                let _ = fs::rename(place.path("out"), place.path(&format!("old{round}")));
            }
        }
    });
    assert!(swaps.into_inner() > 0, "nothing was ever swapped");
    outside.assert_untouched();
}
