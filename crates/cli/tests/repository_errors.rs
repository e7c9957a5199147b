//! Situations in which a repository cannot be written: full disks, file systems that lack features, missing
//! permissions, signals. Each time the message names the problem, nothing is published, a gc frees the space, and the
//! same command works once the problem is solved.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::{privilege, skip, stats};

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

fn composefs(arguments: &[&str]) -> Outcome {
    Program { path: Path::new(COMPOSEFS), name: "composefs" }.run(arguments, b"")
}

/// Asserts that the command succeeded.
#[track_caller]
fn done(outcome: Outcome) {
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
}

/// Creates a tree of some files that are stored as objects, and an inline one.
fn make_tree(path: &Path, files: u32) {
    fs::create_dir_all(path).unwrap();
    for file in 0..files {
        let bytes: Vec<u8> = (0..3000 + file % 50 * 700).map(|i| (i.wrapping_mul(file * 2 + 3) >> 4) as u8).collect();
        fs::write(path.join(file.to_string()), bytes).unwrap();
    }
    fs::write(path.join("small"), "small").unwrap();
}

/// Returns every name in a directory except leases, with the length of files and the target of symlinks.
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

/// A file system for the test, unmounted when this is dropped.
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

/// Asserts the state after a failed create: objects may remain, since another program may rely on them by now; a gc
/// without a grace removes them.
#[track_caller]
fn expect_nothing_published(repository: &Path, before: &BTreeSet<String>) {
    let new: Vec<_> = all_of(repository).difference(before).cloned().collect();
    assert!(new.iter().all(|path| path.contains("/objects/")), "{new:?}");
    done(composefs(&["--repo", repository.to_str().unwrap(), "gc", "--grace=0"]));
}

/// Asserts that every command that only reads an image succeeds. A bundle is written to `out`.
fn readers_work(repo: &str, image: &str, out: &Path) {
    let bundle = out.join("bundle").to_str().unwrap().to_owned();
    let commands: [&[&str]; 6] = [
        &["images"],
        &["df"],
        &["fsck"],
        &["why", image],
        &["export", image, "--output", &bundle],
        &["gc", "--dry-run", "--grace=0"],
    ];
    std::thread::scope(|scope| {
        for arguments in commands {
            scope.spawn(move || {
                let outcome = composefs(&[&["--repo", repo], arguments].concat());
                assert_eq!(outcome.status, Some(0), "{arguments:?}: {}", outcome.stderr);
            });
        }
    });
    assert!(fs::metadata(&bundle).unwrap().len() > 1000);
    fs::remove_file(&bundle).unwrap();
}

#[test]
fn a_disk_can_be_full_at_any_write() {
    if skipped("a_disk_can_be_full_at_any_write") {
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
    // First blocks, then inodes run out: allows one more each time, until there are enough.
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
            // Directories of objects stay, empty.
            let (blocks, inodes) = used(&disk.path);
            assert!(blocks <= used_before.0 + 1 && inodes <= used_before.1, "{what} {more}: {blocks} {inodes}");
        }
    }
    assert_eq!(succeeded, 2);
    stats::show(&format!("full disk: {failed} creates failed, after each gc gave the space back"));
    assert!(failed > 25, "{failed}");
}

#[test]
fn a_disk_can_be_read_only() {
    if skipped("a_disk_can_be_read_only") {
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
    // Commands that only read succeed.
    assert!(composefs(&["--repo", &repo, "images"]).ok().line().contains(&digest));
    readers_work(&repo, &digest, dir.path());
    done(composefs(&["--repo", &repo, "mount", "image", mnt]));
    assert_eq!(fs::read(format!("{mnt}/small")).unwrap(), b"small");
    done(composefs(&["umount", mnt]));
    disk.remount("remount,rw");
    done(composefs(&["--repo", &repo, "tag", "image", "other"]));
}

#[test]
fn a_file_system_can_lack_fs_verity() {
    if skipped("a_file_system_can_lack_fs_verity") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make_tree(&dir.path().join("tree"), 3);
    let tree = dir.path().join("tree").to_str().unwrap().to_owned();
    let tmpfs = Mounted::new(&dir.path().join("tmpfs"), "tmpfs", "size=4m", "small");
    let repo = tmpfs.path.join("repo").to_str().unwrap().to_owned();
    // Without fs-verity, a repository requires an explicit option.
    let refused = composefs(&["init", &repo]);
    assert_eq!(refused.status, Some(1));
    assert!(
        refused.stderr.contains("cannot require fs-verity") && refused.stderr.contains("--insecure"),
        "{}",
        refused.stderr
    );
    assert_eq!(refused.stderr.matches("os error").count(), 1, "{}", refused.stderr);
    assert!(!Path::new(&repo).exists());
    done(composefs(&["init", "--insecure", &repo]));
    done(composefs(&["--repo", &repo, "create", &tree, "--name", "image"]));
}

#[test]
fn missing_permissions_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    make_tree(&dir.path().join("tree"), 3);
    let tree = dir.path().join("tree").to_str().unwrap().to_owned();
    let repo = dir.path().join("repo").to_str().unwrap().to_owned();
    done(composefs(&["init", "--insecure", &repo]));
    assert_eq!(fs::metadata(&repo).unwrap().permissions().mode() & 0o7777, 0o700);
    done(composefs(&["--repo", &repo, "create", &tree, "--name", "image"]));
    if !privilege::is_root() {
        skip::announce("missing_permissions_are_reported", "becoming another user takes root");
        return;
    }
    for arguments in [&["images"][..], &["create", &tree], &["gc"], &["untag", "image"]] {
        let outcome = privilege::without_root(|| composefs(&[&["--repo", &repo], arguments].concat()));
        assert_eq!(outcome.status, Some(1), "{arguments:?}");
        assert!(outcome.stderr.contains("Permission denied"), "{arguments:?}: {}", outcome.stderr);
    }
    // A repository that the user may read but not write.
    fs::set_permissions(&repo, fs::Permissions::from_mode(0o755)).unwrap();
    done(privilege::without_root(|| composefs(&["--repo", &repo, "images"])));
    let image = composefs(&["--repo", &repo, "images"]).ok().line().split(' ').next().unwrap().to_owned();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o777)).unwrap();
    privilege::without_root(|| readers_work(&repo, &image, &out));
    let outcome = privilege::without_root(|| composefs(&["--repo", &repo, "create", &tree]));
    assert!(outcome.status == Some(1) && outcome.stderr.contains("Permission denied"), "{}", outcome.stderr);
}

#[test]
fn after_a_signal_gc_removes_everything() {
    let dir = tempfile::tempdir().unwrap();
    // With few open files a commit has few objects, so that this runs at each of these times, with many commits.
    let create = "ulimit -n 256; exec \"$0\" \"$@\"";
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
        let mut command = Command::new("sh");
        command.args(["-c", create, COMPOSEFS, "--repo", &repo, "create", &tree, "--name=image", "--threads=1"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 * (tries as u64 % 12 + 1)));
        let process = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::from_named_raw(signal).unwrap()).unwrap();
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            // The signal arrived too late, or before the program installed its handlers.
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

#[test]
fn readers_do_not_need_space() {
    if skipped("readers_do_not_need_space") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make_tree(&dir.path().join("tree"), 12);
    make_tree(&dir.path().join("other"), 20);
    let [tree, other] = ["tree", "other"].map(|name| dir.path().join(name).to_str().unwrap().to_owned());
    let file = dir.path().join("ext4.img");
    fs::File::create(&file).unwrap().set_len(24 << 20).unwrap();
    let made = Command::new("mke2fs").args(["-q", "-t", "ext4"]).arg(&file).status().unwrap();
    assert!(made.success());
    let mnt = dir.path().join("mnt").to_str().unwrap().to_owned();
    fs::create_dir(&mnt).unwrap();
    for (kind, options, source) in [("ext4", "loop", file.to_str().unwrap()), ("tmpfs", "size=4m,nr_inodes=4096", "x")]
    {
        let disk = Mounted::new(&dir.path().join(kind), kind, options, source);
        let repository = disk.path.join("repo");
        let repo = repository.to_str().unwrap();
        done(composefs(&["init", "--insecure", repo]));
        let image = composefs(&["--repo", repo, "create", &tree, "--name", "image"]).ok().line().to_owned();
        done(composefs(&["--repo", repo, "create", &tree, "--name", "second"]));
        if kind == "ext4" {
            // No block is left on one file system, and no inode on the other, so that not even a file can be created.
            let mut filler = fs::File::create(disk.path.join("filler")).unwrap();
            while filler.write_all(&[1; 1024]).is_ok() {}
        } else {
            let stat = rustix::fs::statvfs(&disk.path).unwrap();
            disk.remount(&format!("remount,size=4m,nr_inodes={}", stat.f_files - stat.f_ffree));
        }
        let before = all_of(&repository);
        readers_work(repo, &image, dir.path());
        done(composefs(&["--repo", repo, "mount", "image", &mnt]));
        assert_eq!(fs::read(format!("{mnt}/small")).unwrap(), b"small");
        assert_eq!(fs::read(format!("{mnt}/11")).unwrap(), fs::read(format!("{tree}/11")).unwrap());
        done(composefs(&["umount", &mnt]));
        let doctor = composefs(&["--repo", repo, "doctor"]);
        let said = String::from_utf8(doctor.stdout).unwrap();
        assert_eq!(doctor.status, Some(2), "{said} {}", doctor.stderr);
        assert!(said.contains("cannot write a file: No space left on device") && said.contains("1 image"), "{said}");
        // Commands that write need a lease. A failed one leaves nothing.
        for arguments in [&["create", &other, "--name", "other"][..], &["tag", "image", "third"]] {
            let outcome = composefs(&[&["--repo", repo], arguments].concat());
            assert_eq!(outcome.status, Some(1), "{kind} {arguments:?}");
            assert!(outcome.stderr.contains("No space left on device"), "{}", outcome.stderr);
        }
        assert_eq!(all_of(&repository), before);
        // Commands that free space succeed.
        done(composefs(&["--repo", repo, "untag", "image"]));
        done(composefs(&["--repo", repo, "untag", "second"]));
        done(composefs(&["--repo", repo, "gc", "--grace=0"]));
        assert_eq!(all_of(&repository.join("objects")).len(), 0);
        if kind == "ext4" {
            fs::remove_file(disk.path.join("filler")).unwrap();
        } else {
            disk.remount("remount,size=4m,nr_inodes=4096");
        }
        done(composefs(&["--repo", repo, "create", &other, "--name", "other"]));
    }
}

/// While another process removes and recreates the image again and again, a reader without a lease reads all of it or
/// reports that it is missing.
#[test]
fn a_reader_without_a_lease_reads_all_or_nothing() {
    if !privilege::is_root() {
        skip::announce("a_reader_without_a_lease_reads_all_or_nothing", "becoming another user takes root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    make_tree(&dir.path().join("tree"), 60);
    let tree = dir.path().join("tree").to_str().unwrap().to_owned();
    let repo = dir.path().join("repo").to_str().unwrap().to_owned();
    done(composefs(&["init", "--insecure", &repo]));
    fs::set_permissions(&repo, fs::Permissions::from_mode(0o755)).unwrap();
    let (mut whole, mut gone) = (0, 0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..25 {
                done(composefs(&["--repo", &repo, "create", &tree, "--name", "image"]));
                done(composefs(&["--repo", &repo, "untag", "image"]));
                done(composefs(&["--repo", &repo, "gc", "--grace=0"]));
            }
        });
        while !writer.is_finished() {
            let outcome = privilege::without_root(|| composefs(&["--repo", &repo, "export", "image"]));
            if outcome.status == Some(0) {
                whole += 1;
                continue;
            }
            gone += 1;
            let said = &outcome.stderr;
            assert!(said.contains("no image is called image") || said.contains("that image is not in"), "{said}");
        }
    });
    stats::show(&format!("a reader without a lease: {whole} times whole, {gone} times gone"));
    assert!(whole > 0 && gone > 0, "{whole} {gone}");
}

/// Child process that is killed when this is dropped.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another user, who may open the repository's directory, locks it permanently.
#[test]
fn a_lock_of_another_user_stops_no_reader() {
    if skipped("a_lock_of_another_user_stops_no_reader") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    make_tree(&dir.path().join("tree"), 3);
    make_tree(&dir.path().join("other"), 5);
    let [tree, other, mnt] = ["tree", "other", "mnt"].map(|name| dir.path().join(name).to_str().unwrap().to_owned());
    fs::create_dir(&mnt).unwrap();
    let repo = dir.path().join("repo").to_str().unwrap().to_owned();
    // A directory created by init is accessible to its owner only; for one that existed, init prints who may lock it.
    assert_eq!(composefs(&["init", "--insecure", &repo]).ok().stderr, "");
    let wide = dir.path().join("wide");
    fs::create_dir(&wide).unwrap();
    fs::set_permissions(&wide, fs::Permissions::from_mode(0o755)).unwrap();
    let said = composefs(&["init", "--insecure", wide.to_str().unwrap()]).ok().stderr;
    assert!(said.contains("every user who can reach it may open and lock the directory"), "{said}");
    let image = composefs(&["--repo", &repo, "create", &tree, "--name", "image"]).ok().line().to_owned();
    let doctor = |what: &str| {
        let said = String::from_utf8(composefs(&["--repo", &repo, "doctor"]).stdout).unwrap();
        assert!(said.contains(what), "{said}");
    };
    doctor("only its owner may open the directory and lock it");
    doctor("no process holds it");
    fs::set_permissions(&repo, fs::Permissions::from_mode(0o755)).unwrap();
    doctor("every user who can reach it may open and lock the directory");

    let mut holder = Command::new("flock");
    holder.args(["--no-fork", "--exclusive", &repo, "sleep", "600"]).stdin(Stdio::null());
    let holder = Running(privilege::without_root(|| holder.spawn().unwrap()));
    let lock = fs::File::open(&repo).unwrap();
    while rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok() {
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::Unlock).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    let process = format!("process {} (sleep)", holder.0.id());
    doctor(&format!("{process} holds it exclusively"));
    let create = || {
        let mut create = Command::new(COMPOSEFS);
        create.args(["--repo", &repo, "create", &other, "--name", "other"]);
        let mut create = Running(create.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        let mut said = BufReader::new(create.0.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, format!("composefs: waiting for {process}, which has locked {repo}\n"));
        // It waits until it is cancelled, however long readers wait.
        std::thread::sleep(Duration::from_secs(6));
        assert!(create.0.try_wait().unwrap().is_none());
        let pid = rustix::process::Pid::from_child(&create.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        // Its messages must be read until it exits.
        (create, said)
    };
    let (mounted, fsck, (mut create, _said)) = std::thread::scope(|scope| {
        let readers = scope.spawn(|| readers_work(&repo, &image, dir.path()));
        let create = scope.spawn(create);
        let fsck = scope.spawn(|| composefs(&["--repo", &repo, "fsck", "--json"]));
        let mounted = composefs(&["--repo", &repo, "mount", "image", &mnt]);
        readers.join().unwrap();
        (mounted, fsck.join().unwrap().ok(), create.join().unwrap())
    });
    assert!(mounted.stderr.contains("continuing without the lock"), "{}", mounted.stderr);
    done(mounted);
    assert_eq!(fs::read(format!("{mnt}/small")).unwrap(), b"small");
    done(composefs(&["umount", &mnt]));
    let fsck: serde_json::Value = serde_json::from_slice(&fsck.stdout).unwrap();
    assert_eq!(fsck["lockable_by"], serde_json::json!(["every user"]));
    assert_eq!(fsck["locked_by"][0]["pid"], holder.0.id());
    assert_eq!(fsck["locked_by"][0]["exclusive"], true);
    drop(holder);
    assert_eq!(create.0.wait().unwrap().code(), Some(130));
    done(composefs(&["--repo", &repo, "create", &other, "--name", "other"]));
}
