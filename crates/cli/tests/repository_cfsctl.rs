//! Uses recorded repositories of cfsctl 0.9.4 (`data/cfsctl/README.md` of the testkit) with our commands, and, if
//! cfsctl is installed, our repositories with cfsctl.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::skip;

const RECORDED: [(&str, &str, &str); 3] = [("sha256", "0", "0"), ("sha256", "1", "1"), ("sha512", "2", "2")];

fn composefs(arguments: &[&str]) -> Outcome {
    Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "composefs" }.run(arguments, b"")
}

fn cfsctl(arguments: &[&str]) -> Option<Outcome> {
    Some(Program { path: &cfsctl_path()?, name: "cfsctl" }.run(arguments, b""))
}

fn cfsctl_path() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("COMPOSEFS_PEERS")?).join("cfsctl");
    path.exists().then_some(path)
}

/// Unpacks a recorded repository.
fn unpack(name: &str, into: &Path) -> String {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/data/cfsctl").join(format!("{name}.tar.gz"));
    let status = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(into).args(["--no-same-owner"]).status();
    assert!(status.unwrap().success());
    into.join(name).to_str().unwrap().to_owned()
}

fn objects(repository: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for fan in fs::read_dir(Path::new(repository).join("objects")).unwrap() {
        let fan = fan.unwrap();
        for object in fs::read_dir(fan.path()).unwrap() {
            found.insert(format!("{}{}", fan.file_name().display(), object.unwrap().file_name().display()));
        }
    }
    found
}

fn digests(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (digest, name) = (words.next()?, words.nth(2).unwrap_or_default());
        Some((name.to_owned(), digest.to_owned()))
    };
    let mut all: Vec<_> = text.lines().filter_map(line).collect();
    all.sort();
    all
}

#[test]
fn our_commands_work_in_repositories_of_cfsctl() {
    for (hash, format, version) in RECORDED {
        let dir = tempfile::tempdir().unwrap();
        let repo = unpack(&format!("{hash}-format{format}"), dir.path());
        let list = digests(composefs(&["--repo", &repo, "images"]).ok().line());
        assert_eq!(list.len(), 2, "{list:?}");
        assert_eq!((list[0].0.as_str(), list[1].0.as_str()), ("", "debian/tree"));
        let image = format!("{repo}/images/{}", list[1].1);
        let stat = composefs(&["stat", &image]).ok();
        assert!(stat.line().contains(&format!("version {version}")), "{}", stat.line());

        // The same as its own gc removes: the image without a name, and the one object that no other image has.
        let before = objects(&repo);
        assert_eq!(before.len(), 8);
        assert_eq!(
            composefs(&["--repo", &repo, "gc"]).ok().line().lines().next(),
            Some("0 images and 0 objects removed, 0")
        );
        let dry = composefs(&["--repo", &repo, "gc", "--grace=0", "--dry-run"]).ok();
        assert!(dry.line().starts_with("1 image and 2 objects would be removed"), "{}", dry.line());
        assert_eq!(objects(&repo), before);
        let _ = composefs(&["--repo", &repo, "gc", "--grace=0"]).ok();
        let after = objects(&repo);
        assert_eq!(after.len(), 6);
        assert!(after.is_subset(&before) && after.contains(&list[1].1) && !after.contains(&list[0].1));
        // A stream and the objects it names are kept even if no image needs them.
        let _ = composefs(&["--repo", &repo, "untag", "debian/tree"]).ok();
        let _ = composefs(&["--repo", &repo, "gc", "--grace=0"]).ok();
        assert_eq!(objects(&repo).len(), 3, "the stream, and two large files of its layer");

        // Create an image of ours in its repository.
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("file"), [7; 5000]).unwrap();
        let made = composefs(&["--repo", &repo, "create", tree.to_str().unwrap(), "--name", "ours"]).ok();
        if let Some(outcome) = cfsctl(&["--repo", &repo, "fsck"]) {
            assert!(outcome.ok().line().ends_with("status: ok"));
            let again =
                cfsctl(&["--repo", &repo, "create-image", "--no-propagate-usr-to-root", tree.to_str().unwrap()]);
            assert_eq!(again.unwrap().ok().line(), format!("{hash}:{}", made.line()));
        }
    }
}

#[test]
fn cfsctl_works_in_our_repositories() {
    if cfsctl_path().is_none() {
        return skip::announce(
            "cfsctl_works_in_our_repositories",
            "cfsctl 0.9.4 is not there: COMPOSEFS_PEERS=$(cargo xtask peers --rust)",
        );
    }
    for (hash, format, _) in RECORDED {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("repo").to_str().unwrap().to_owned();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("file"), [8; 5000]).unwrap();
        let tree = tree.to_str().unwrap();
        let init = ["init", "--insecure", "--algorithm", hash, "--format", format];
        let _ = composefs(&[&["--repo", &repo], &init[..]].concat()).ok();
        let digest = composefs(&["--repo", &repo, "create", tree, "--name", "a/b"]).ok().line().to_owned();
        let theirs = |arguments: &[&str]| cfsctl(&[&["--repo", &repo], arguments].concat()).unwrap().ok();
        assert!(theirs(&["fsck"]).line().ends_with("status: ok"));
        assert!(theirs(&["images"]).line().contains("a/b"));
        assert_eq!(
            theirs(&["create-image", "--no-propagate-usr-to-root", tree, "c"]).line(),
            format!("{hash}:{digest}")
        );
        let list = digests(composefs(&["--repo", &repo, "images"]).ok().line());
        assert_eq!(list, [("a/b".to_owned(), digest.clone())]);
        let before = objects(&repo);
        // Directories that only this program knows.
        let ours = Path::new(&repo).join("statfs").join(&digest);
        fs::create_dir_all(&ours).unwrap();
        let _ = theirs(&["gc"]);
        assert!(ours.exists());
        assert_eq!(objects(&repo), before);
        assert!(theirs(&["fsck"]).line().ends_with("status: ok"));
        for name in ["a/b", "c"] {
            let _ = composefs(&["--repo", &repo, "untag", name]).ok();
        }
        let _ = theirs(&["gc"]);
        assert!(objects(&repo).is_empty());
    }
}

/// Child process that is killed when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn gc_waits_for_a_running_cfsctl() {
    let dir = tempfile::tempdir().unwrap();
    let repo = unpack("sha256-format1", dir.path());
    // Takes the lock that cfsctl holds while it runs, by another program if cfsctl is not installed.
    let holder = match cfsctl_path() {
        Some(cfsctl) => Command::new(cfsctl).args(["--repo", &repo, "transaction"]).stdin(Stdio::null()).spawn(),
        None => {
            Command::new("flock").args(["--no-fork", "--shared", &repo, "sleep", "600"]).stdin(Stdio::null()).spawn()
        }
    };
    let holder = Running(holder.unwrap());
    let lock = fs::File::open(&repo).unwrap();
    while rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok() {
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::Unlock).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut gc = Command::new(env!("CARGO_BIN_EXE_composefs"));
    gc.args(["--repo", &repo, "gc", "--grace=0"]).stdout(Stdio::null());
    let mut gc = Running(gc.spawn().unwrap());
    std::thread::sleep(Duration::from_millis(500));
    assert!(gc.0.try_wait().unwrap().is_none(), "it did not wait");
    assert_eq!(objects(&repo).len(), 8);
    // A command that only adds does not wait.
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let _ = composefs(&["--repo", &repo, "create", tree.to_str().unwrap(), "--name", "new"]).ok();
    drop(holder);
    assert!(gc.0.wait().unwrap().success());
    assert_eq!(objects(&repo).len(), 7);
}

/// Another program holds the lock for a long removal: a create reports that it waits, and can be cancelled.
#[test]
fn waiting_is_reported_and_can_be_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let repo = unpack("sha256-format1", dir.path());
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("new"), "a content that is not there yet".repeat(10)).unwrap();
    let (before, lock) = (objects(&repo), fs::File::open(&repo).unwrap());
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut create = Command::new(env!("CARGO_BIN_EXE_composefs"));
    create.args(["--repo", &repo, "create", tree.to_str().unwrap()]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut create = Running(create.spawn().unwrap());
    let mut said = BufReader::new(create.0.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("composefs: waiting for process ") && line.contains(" locked"), "{line}");
    let pid = rustix::process::Pid::from_child(&create.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(create.0.wait().unwrap().code(), Some(130));
    assert_eq!(objects(&repo), before);
}
