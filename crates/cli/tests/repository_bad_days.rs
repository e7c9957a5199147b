//! Days on which a repository cannot be written: full disks, file systems that lack things, no permission, signals. Each time
//! the error says what and why, nothing is published, a gc gives the space back, and on a better day the same command works.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use composefs_testkit::program::{Outcome, Program};
use composefs_testkit::{figures, privilege, skip};

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

fn composefs(arguments: &[&str]) -> Outcome {
    Program { path: Path::new(COMPOSEFS), name: "composefs" }.run(arguments, b"")
}

/// Demands that it was done.
#[track_caller]
fn done(outcome: Outcome) {
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
}

/// A tree of some files that are no inline ones, and one that is.
fn make_tree(path: &Path, files: u32) {
    fs::create_dir_all(path).unwrap();
    for file in 0..files {
        let bytes: Vec<u8> = (0..3000 + file * 700).map(|i| (i.wrapping_mul(file * 2 + 3) >> 4) as u8).collect();
        fs::write(path.join(file.to_string()), bytes).unwrap();
    }
    fs::write(path.join("small"), "small").unwrap();
}

/// Every name in a directory but those of leases, with the length of files and what links hold.
fn all_of(path: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let stat = path.symlink_metadata().unwrap();
            if stat.is_dir() {
                waiting.push(path);
            } else if stat.is_symlink() {
                found.insert(format!("{} -> {}", path.display(), fs::read_link(&path).unwrap().display()));
            } else if !path.to_str().unwrap().ends_with("leases/gc.lock") {
                found.insert(format!("{} {}", path.display(), stat.len()));
            }
        }
    }
    found
}

/// A file system of one's own, unmounted at the end.
struct Mounted {
    path: PathBuf,
}

impl Mounted {
    fn new(path: &Path, kind: &str, options: &str, source: &str) -> Self {
        fs::create_dir_all(path).unwrap();
        let status = Command::new("mount").args(["-t", kind, "-o", options, source]).arg(path).status().unwrap();
        assert!(status.success(), "mount -t {kind} -o {options}");
        Self { path: path.to_owned() }
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", options]).arg(&self.path).status().unwrap();
        assert!(status.success(), "mount -o {options}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn skipped(name: &str) -> bool {
    if privilege::is_root() {
        return false;
    }
    skip::announce(name, "mounting takes root");
    true
}

/// After a create that failed: objects may be left, which another program may rely on by now; a gc without a grace removes them.
#[track_caller]
fn expect_nothing_published(repository: &Path, before: &BTreeSet<String>) {
    let new: Vec<_> = all_of(repository).difference(before).cloned().collect();
    assert!(new.iter().all(|path| path.contains("/objects/")), "{new:?}");
    done(composefs(&["--repo", repository.to_str().unwrap(), "gc", "--grace=0"]));
}

#[test]
fn a_disk_may_be_full_at_any_write() {
    if skipped("a_disk_may_be_full_at_any_write") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make_tree(&dir.path().join("tree"), 12);
    let tree = dir.path().join("tree").to_str().unwrap().to_owned();
    let disk = Mounted::new(&dir.path().join("disk"), "tmpfs", "size=4m,nr_inodes=4096", "small");
    let repository = disk.path.join("repo");
    let repo = repository.to_str().unwrap().to_owned();
    done(composefs(&["init", "--insecure", &repo]));
    let base = composefs(&["--repo", &repo, "create", &tree, "--name", "first"]).ok().line().to_owned();
    done(composefs(&["--repo", &repo, "untag", "first"]));
    done(composefs(&["--repo", &repo, "gc", "--grace=0"]));
    let before = all_of(&repository);
    let used = |path: &Path| {
        let stat = rustix::fs::statvfs(path).unwrap();
        (stat.f_blocks - stat.f_bfree, stat.f_files - stat.f_ffree)
    };
    let (used_before, (mut failed, mut succeeded)) = (used(&disk.path), (0, 0));
    // First of the blocks, then of the inodes: one more each time, until it is enough.
    for what in ["size", "nr_inodes"] {
        for more in 1.. {
            let (blocks, inodes) = used(&disk.path);
            match what {
                "size" => disk.remount(&format!("remount,size={}k,nr_inodes=4096", (blocks + more) * 4)),
                _ => disk.remount(&format!("remount,size=4m,nr_inodes={}", inodes + more)),
            }
            let outcome = composefs(&["--repo", &repo, "create", &tree, "--name", "image"]);
            disk.remount("remount,size=4m,nr_inodes=4096");
            if outcome.status == Some(0) {
                assert_eq!(outcome.line(), base);
                succeeded += 1;
                done(composefs(&["--repo", &repo, "untag", "image"]));
                done(composefs(&["--repo", &repo, "gc", "--grace=0"]));
                break;
            }
            failed += 1;
            assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
            assert!(outcome.stderr.contains("No space left on device"), "{}", outcome.stderr);
            assert!(outcome.stderr.contains(&repo), "{}", outcome.stderr);
            expect_nothing_published(&repository, &before);
            assert_eq!(all_of(&repository), before, "{what} {more}");
            // Directories of objects stay; they are empty.
            let (blocks, inodes) = used(&disk.path);
            assert!(blocks <= used_before.0 + 1 && inodes <= used_before.1, "{what} {more}: {blocks} {inodes}");
        }
    }
    assert_eq!(succeeded, 2);
    figures::show(&format!("full disk: {failed} creates failed, after each gc gave the space back"));
    assert!(failed > 25, "{failed}");
}

#[test]
fn a_disk_may_be_read_only() {
    if skipped("a_disk_may_be_read_only") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make_tree(&dir.path().join("tree"), 3);
    let tree = dir.path().join("tree").to_str().unwrap().to_owned();
    let disk = Mounted::new(&dir.path().join("disk"), "tmpfs", "size=4m", "small");
    let repo = disk.path.join("repo").to_str().unwrap().to_owned();
    done(composefs(&["init", "--insecure", &repo]));
    let digest = composefs(&["--repo", &repo, "create", &tree, "--name", "image"]).ok().line().to_owned();
    let mnt = dir.path().join("mnt");
    fs::create_dir(&mnt).unwrap();
    let mnt = mnt.to_str().unwrap();
    disk.remount("remount,ro");
    for arguments in [
        &["create", &tree, "--name", "other"][..],
        &["tag", "image", "other"],
        &["untag", "image"],
        &["gc", "--grace=0"],
        &["init", "--insecure", "--algorithm=sha512", &format!("{repo}/../new")],
    ] {
        let outcome = composefs(&[&["--repo", &repo], arguments].concat());
        assert_eq!(outcome.status, Some(1), "{arguments:?}");
        assert!(outcome.stderr.contains("Read-only file system"), "{arguments:?}: {}", outcome.stderr);
    }
    // What only reads works.
    assert!(composefs(&["--repo", &repo, "images"]).ok().line().contains(&digest));
    done(composefs(&["--repo", &repo, "gc", "--dry-run"]));
    done(composefs(&["--repo", &repo, "mount", "image", mnt]));
    assert_eq!(fs::read(format!("{mnt}/small")).unwrap(), b"small");
    done(composefs(&["umount", mnt]));
    disk.remount("remount,rw");
    done(composefs(&["--repo", &repo, "tag", "image", "other"]));
}

#[test]
fn a_file_system_may_lack_fs_verity() {
    if skipped("a_file_system_may_lack_fs_verity") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make_tree(&dir.path().join("tree"), 3);
    let tree = dir.path().join("tree").to_str().unwrap().to_owned();
    let tmpfs = Mounted::new(&dir.path().join("tmpfs"), "tmpfs", "size=4m", "small");
    let repo = tmpfs.path.join("repo").to_str().unwrap().to_owned();
    // No fs-verity: not without saying so.
    let refused = composefs(&["init", &repo]);
    assert_eq!(refused.status, Some(1));
    assert!(
        refused.stderr.contains("cannot demand fs-verity") && refused.stderr.contains("--insecure"),
        "{}",
        refused.stderr
    );
    assert!(!Path::new(&repo).exists());
    done(composefs(&["init", "--insecure", &repo]));
    done(composefs(&["--repo", &repo, "create", &tree, "--name", "image"]));
}

#[test]
fn who_may_not_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    make_tree(&dir.path().join("tree"), 3);
    let tree = dir.path().join("tree").to_str().unwrap().to_owned();
    let repo = dir.path().join("repo").to_str().unwrap().to_owned();
    done(composefs(&["init", "--insecure", &repo]));
    assert_eq!(fs::metadata(&repo).unwrap().permissions().mode() & 0o7777, 0o700);
    done(composefs(&["--repo", &repo, "create", &tree, "--name", "image"]));
    if !privilege::is_root() {
        skip::announce("who_may_not_is_told_so", "becoming another user takes root");
        return;
    }
    for arguments in [&["images"][..], &["create", &tree], &["gc"], &["untag", "image"]] {
        let outcome = privilege::without_root(|| composefs(&[&["--repo", &repo], arguments].concat()));
        assert_eq!(outcome.status, Some(1), "{arguments:?}");
        assert!(outcome.stderr.contains("Permission denied"), "{arguments:?}: {}", outcome.stderr);
    }
    // One that may be looked at but not written.
    fs::set_permissions(&repo, fs::Permissions::from_mode(0o755)).unwrap();
    done(privilege::without_root(|| composefs(&["--repo", &repo, "images"])));
    let outcome = privilege::without_root(|| composefs(&["--repo", &repo, "create", &tree]));
    assert!(outcome.status == Some(1) && outcome.stderr.contains("Permission denied"), "{}", outcome.stderr);
}

#[test]
fn a_signal_leaves_nothing_that_gc_keeps() {
    let dir = tempfile::tempdir().unwrap();
    // Large enough to be in the midst of it at any of these moments, and with more than one commit.
    make_tree(&dir.path().join("tree"), 2000);
    let tree = dir.path().join("tree").to_str().unwrap().to_owned();
    let repository = dir.path().join("repo");
    let repo = repository.to_str().unwrap().to_owned();
    done(composefs(&["init", "--insecure", &repo]));
    let before = all_of(&repository);
    let (mut ended, mut tries) = (0, 0);
    while ended < 6 && tries < 60 {
        tries += 1;
        let signal = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP][ended % 3];
        let mut command = Command::new(COMPOSEFS);
        command.args(["--repo", &repo, "create", &tree, "--name", "image", "--threads=1"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 * (tries as u64 % 12 + 1)));
        let process = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::from_named_raw(signal).unwrap()).unwrap();
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            // It was too late, or before the program was ready for signals.
            Some(0) => {
                done(composefs(&["--repo", &repo, "untag", "image"]));
                done(composefs(&["--repo", &repo, "gc", "--grace=0"]));
            }
            None => assert_eq!(output.status.signal(), Some(signal)),
            code => {
                assert_eq!(code, Some(128 + signal));
                let stderr = String::from_utf8_lossy(&output.stderr);
                assert!(stderr.contains("interrupted"), "{stderr}");
                ended += 1;
            }
        }
        expect_nothing_published(&repository, &before);
        assert_eq!(all_of(&repository), before);
    }
    assert!(ended >= 6, "{ended} of {tries}");
}
