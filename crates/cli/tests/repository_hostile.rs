//! A repository whose owner has placed symlinks in it that lead out of it: commands of root must not touch anything
//! outside.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libcomposefs_testkit::stats;
use rustix::fs::{CWD, FileType, Mode, mknodat};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// Fixture: a repository with an image, a tree for another one, and files outside that must not change.
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        for directory in ["tree/d", "outside/xx", "outside/refs/folder"] {
            fs::create_dir_all(place.path(directory)).unwrap();
        }
        fs::write(place.path("tree/file"), [1; 3000]).unwrap();
        fs::write(place.path("outside/sentinel"), "sentinel").unwrap();
        place.done(&["init", "--insecure"]);
        place.done(&["create", place.path("tree").to_str().unwrap(), "--name", "folder/image"]);
        // An object that gc removes.
        fs::write(place.path("tree/other"), [2; 3000]).unwrap();
        place.done(&["create", place.path("tree").to_str().unwrap()]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns status and output of a command. Nothing may make it wait.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_composefs"));
        command.arg("--repo").arg(self.path("repo")).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                child.kill().unwrap();
                panic!("{arguments:?} does not end");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn done(&self, arguments: &[&str]) {
        let (status, stderr) = self.run(arguments);
        assert_eq!(status, Some(0), "{arguments:?}: {stderr}");
    }

    /// Returns the state of everything outside the repository.
    fn outside(&self) -> BTreeMap<PathBuf, (u32, u64, i64, i64)> {
        let (mut seen, mut waiting) = (BTreeMap::new(), vec![self.path("outside")]);
        while let Some(path) = waiting.pop() {
            let stat = path.symlink_metadata().unwrap();
            seen.insert(path.clone(), (stat.mode(), stat.nlink(), stat.mtime(), stat.mtime_nsec()));
            if stat.is_dir() {
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        seen
    }
}

/// Replaces something with a symlink.
fn replace_by_link(path: &Path, target: &Path) {
    if path.is_dir() && !path.is_symlink() {
        fs::rename(path, path.with_extension("old")).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
    symlink(target, path).unwrap();
}

/// Hostile changes, and whether the commands can succeed in spite of them.
fn plant(place: &Place, what: &str) {
    let (repo, outside) = (place.path("repo"), place.path("outside"));
    let refs = repo.join("images/refs");
    match what {
        "nothing" => {}
        "objects" => replace_by_link(&repo.join("objects"), &outside),
        "a directory of objects" => {
            for first in 0..=255u8 {
                replace_by_link(&repo.join(format!("objects/{first:02x}")), &outside.join("xx"));
            }
        }
        "an object" => {
            for fan in fs::read_dir(repo.join("objects")).unwrap() {
                for object in fs::read_dir(fan.unwrap().path()).unwrap() {
                    replace_by_link(&object.unwrap().path(), &outside.join("sentinel"));
                }
            }
        }
        "images" => replace_by_link(&repo.join("images"), &outside),
        "refs" => replace_by_link(&refs, &outside.join("refs")),
        "a folder of refs" => replace_by_link(&refs.join("folder"), &outside.join("refs/folder")),
        "a ref" => replace_by_link(&refs.join("folder/image"), &outside.join("sentinel")),
        "leases" => replace_by_link(&repo.join("leases"), &outside),
        "the lock of gc" => replace_by_link(&repo.join("leases/gc.lock"), &outside.join("sentinel")),
        "meta.json" => replace_by_link(&repo.join("meta.json"), &outside.join("sentinel")),
        "a FIFO as meta.json" => {
            fs::remove_file(repo.join("meta.json")).unwrap();
            mknodat(CWD, repo.join("meta.json"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        }
        "a FIFO as a lease" => mknodat(CWD, repo.join("leases/1-fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap(),
        "a FIFO as an object" => {
            for fan in fs::read_dir(repo.join("objects")).unwrap() {
                for object in fs::read_dir(fan.unwrap().path()).unwrap() {
                    let path = object.unwrap().path();
                    fs::remove_file(&path).unwrap();
                    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
                }
            }
        }
        "a link among leases" => symlink(outside.join("sentinel"), repo.join("leases/1-0123")).unwrap(),
        "a link as a stream" => {
            fs::create_dir(repo.join("streams")).unwrap();
            symlink("../../outside/sentinel", repo.join("streams/stream")).unwrap();
        }
        _ => panic!("{what}"),
    }
}

const PLANTED: [&str; 16] = [
    "nothing",
    "objects",
    "a directory of objects",
    "an object",
    "images",
    "refs",
    "a folder of refs",
    "a ref",
    "leases",
    "the lock of gc",
    "meta.json",
    "a FIFO as meta.json",
    "a FIFO as a lease",
    "a FIFO as an object",
    "a link among leases",
    "a link as a stream",
];

#[test]
fn nothing_outside_is_touched() {
    let (mut refused, mut done) = (0, 0);
    for what in PLANTED {
        let place = Place::new();
        plant(&place, what);
        let before = place.outside();
        let tree = place.path("tree").to_str().unwrap().to_owned();
        for arguments in [
            &["images"][..],
            &["create", &tree, "--name", "folder/new"],
            &["create", &tree, "--name", "new"],
            &["tag", "folder/image", "folder/tagged"],
            &["untag", "folder/image"],
            &["gc", "--grace=0"],
            &["init", "--insecure"],
        ] {
            let (status, stderr) = place.run(arguments);
            match status {
                Some(0) => done += 1,
                Some(1) => {
                    refused += 1;
                    let names_it = stderr.contains("repo") || stderr.contains("folder/");
                    assert!(what != "nothing" && names_it, "{what}: {arguments:?}: {stderr}");
                }
                other => panic!("{what}: {arguments:?}: {other:?}: {stderr}"),
            }
            assert_eq!(place.outside(), before, "{what}: {arguments:?}");
        }
        assert_eq!(fs::read_to_string(place.path("outside/sentinel")).unwrap(), "sentinel", "{what}");
    }
    stats::show(&format!("hostile repositories: {} kinds, {refused} commands refused, {done} done", PLANTED.len()));
    assert!(refused > 30 && done > 40, "{refused} refused, {done} done");
}
