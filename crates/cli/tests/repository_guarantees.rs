//! Results of finished commands, and of a plain `mkcomposefs`, persist even if another command fails, is interrupted,
//! or is a gc.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libcomposefs_testkit::privilege;
use libcomposefs_testkit::program::{Outcome, Program};
use rustix::process::{Pid, Signal, kill_process};

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        let _ = place.repo("repo", &["init", "--insecure"]).ok();
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, name: &str, arguments: &[&str], input: &[u8]) -> Outcome {
        Program { path: Path::new(COMPOSEFS), name }.run(arguments, input)
    }

    fn repo(&self, repo: &str, arguments: &[&str]) -> Outcome {
        self.run("composefs", &[&["--repo", &self.path(repo)], arguments].concat(), b"")
    }

    /// Creates a tree with one file that consists of this byte.
    fn tree(&self, byte: u8) -> String {
        let tree = self.path(&format!("tree{byte}"));
        if !Path::new(&tree).exists() {
            fs::create_dir(&tree).unwrap();
            fs::write(format!("{tree}/file"), [byte; 4000]).unwrap();
        }
        tree
    }

    /// Returns the names of images with the targets of their links.
    fn refs(&self, repo: &str) -> BTreeMap<PathBuf, PathBuf> {
        let (mut found, mut waiting) = (BTreeMap::new(), vec![PathBuf::from(self.path(repo)).join("images/refs")]);
        while let Some(path) = waiting.pop() {
            for entry in fs::read_dir(&path).unwrap() {
                let path = entry.unwrap().path();
                match fs::read_link(&path) {
                    Ok(target) => drop(found.insert(path, target)),
                    Err(_) => waiting.push(path),
                }
            }
        }
        found
    }

    fn object(&self, file: &str) -> String {
        let digest = self.run("composefs", &["digest", file], b"").ok().line().split(' ').next().unwrap().to_owned();
        format!("{}/{}", &digest[..2], &digest[2..])
    }
}

/// A plain `mkcomposefs` has no lease. It relies on an object stored by a create that is interrupted later.
#[test]
fn an_interrupted_create_keeps_objects_that_others_use() {
    let place = Place::new();
    let (large, small) = (place.path("large"), place.tree(1));
    fs::create_dir(&large).unwrap();
    for number in 0..1500u32 {
        fs::write(format!("{large}/{number:04}"), number.to_le_bytes().repeat(80)).unwrap();
    }
    fs::copy(format!("{small}/file"), format!("{large}/0000")).unwrap();
    // With a low limit on open files, a batch is committed after a few objects.
    let script = r#"ulimit -n 64; exec "$0" --repo "$1" create "$2" --name large --threads=1"#;
    let mut create = Command::new("sh");
    create.args(["-c", script, COMPOSEFS, &place.path("repo"), &large]).arg0("sh");
    let mut create = create.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let process = Pid::from_child(&create);
    let object = PathBuf::from(place.path("repo/objects")).join(place.object(&format!("{small}/file")));
    let end = Instant::now() + Duration::from_secs(60);
    while !object.exists() {
        assert!(Instant::now() < end && create.try_wait().unwrap().is_none(), "the object does not come");
        std::thread::sleep(Duration::from_micros(200));
    }
    kill_process(process, Signal::STOP).unwrap();
    let store = format!("--digest-store={}", place.path("repo/objects"));
    let image = place.path("small.img");
    let _ = place.run("mkcomposefs", &[&store, &small, &image], b"").ok();
    kill_process(process, Signal::INT).unwrap();
    kill_process(process, Signal::CONT).unwrap();
    assert_eq!(create.wait().unwrap().code(), Some(130));
    let basedir = format!("--basedir={}", place.path("repo/objects"));
    assert_eq!(place.run("composefs-info", &[&basedir, "missing-objects", &image], b"").ok().line(), "");
    assert!(place.refs("repo").is_empty());
    // A gc without a grace frees the space: the repository does not need the object.
    assert_eq!(place.repo("repo", &["gc"]).ok().line().lines().next(), Some("0 images and 0 objects removed, 0"));
    let _ = place.repo("repo", &["gc", "--grace=0"]).ok();
    assert!(!object.exists());
}

/// An image of another program whose file names its content only by a path, or by a path other than that of its digest.
#[test]
fn objects_named_only_by_path_are_kept() {
    let (own, other) = ([1; 4000], [2; 4000]);
    for has_digest in [false, true] {
        let place = Place::new();
        for byte in [1, 2, 3] {
            let _ = place.repo("repo", &["create", &place.tree(byte), "--name", &byte.to_string()]).ok();
        }
        let objects = [1, 2].map(|byte| place.object(&format!("{}/file", place.tree(byte))));
        let digest = if has_digest { objects[1].replace('/', "") } else { "-".to_owned() };
        // No kernel mounts the unusual spelling; other readers may follow it.
        let payload = if has_digest { objects[0].replace('/', "/.//") } else { objects[0].clone() };
        let dump = format!("/ 4096 40755 2 0 0 0 0.0 - - -\n/file 4000 100644 1 0 0 0 0.0 {payload} - {digest}\n");
        let image = place.path("image");
        let _ = place.run("mkcomposefs", &["--from-file", "-", &image], dump.as_bytes()).ok();
        let path = place.object(&image);
        let object = place.path(&format!("repo/objects/{path}"));
        fs::create_dir_all(Path::new(&object).parent().unwrap()).unwrap();
        fs::rename(&image, &object).unwrap();
        let hex = path.replace('/', "");
        let images = place.path("repo/images");
        std::os::unix::fs::symlink(format!("../objects/{path}"), format!("{images}/{hex}")).unwrap();
        std::os::unix::fs::symlink(format!("../{hex}"), format!("{images}/refs/odd")).unwrap();
        for byte in ["1", "2", "3"] {
            let _ = place.repo("repo", &["untag", byte]).ok();
        }
        let why = place.repo("repo", &["why", &objects[0].replace('/', "")]).ok();
        assert!(why.line().contains("named odd"), "{}", why.line());
        let _ = place.repo("repo", &["gc", "--grace=0"]).ok();
        let read = |object: &str| fs::read(place.path(&format!("repo/objects/{object}"))).ok();
        assert_eq!(read(&objects[0]).as_deref(), Some(&own[..]));
        assert_eq!(read(&objects[1]).as_deref(), has_digest.then_some(&other[..]));
        assert_eq!(read(&place.object(&format!("{}/file", place.tree(3)))), None);
        let fsck = place.repo("repo", &["fsck"]);
        assert!(fsck.status == Some(1) && fsck.line().contains("payload: nothing compares /file"), "{}", fsck.line());
        if privilege::is_root() && !has_digest {
            let target = place.path("mnt");
            fs::create_dir(&target).unwrap();
            let _ = place.repo("repo", &["mount", "odd", &target]).ok();
            let content = fs::read(format!("{target}/file"));
            let _ = place.run("composefs", &["umount", &target], b"").ok();
            assert_eq!(content.unwrap(), own);
        }
        let _ = place.repo("repo", &["untag", "odd"]).ok();
        let _ = place.repo("repo", &["gc", "--grace=0"]).ok();
        assert_eq!(read(&objects[0]), None);
        let _ = place.repo("repo", &["fsck"]).ok();
    }
}

/// Creates a bundle with these names, each for an image of its own.
fn bundle(place: &Place, names: &[&str]) -> String {
    let _ = place.repo("from", &["init", "--insecure"]).ok();
    for (number, name) in names.iter().enumerate() {
        let _ = place.repo("from", &["create", &place.tree(10 + number as u8), "--name", name]).ok();
    }
    let bundle = place.path("bundle");
    let _ = place.repo("from", &[&["export"], names, &["-o", &bundle]].concat()).ok();
    bundle
}

#[test]
fn names_of_a_bundle_are_created_all_or_none() {
    // Existing entry, and whether the names a, d/e, f/g can be created next to it.
    for (there, fits) in [("d", false), ("a/b", false), ("f/g/h", false), ("other", true), ("d/e", true)] {
        let place = Place::new();
        let names = ["a", "d/e", "f/g"];
        let bundle = bundle(&place, &names);
        for name in ["a", there].into_iter().filter(|name| there != "a/b" || *name != "a") {
            let _ = place.repo("repo", &["create", &place.tree(1), "--name", name]).ok();
        }
        let before = place.refs("repo");
        let import = place.repo("repo", &["import", &bundle, "--refs"]);
        if fits {
            assert_eq!(import.status, Some(0), "{there}: {}", import.stderr);
            assert_eq!(place.refs("repo").len(), if there == "other" { 4 } else { 3 });
        } else {
            assert_eq!(import.status, Some(1), "{there}");
            // The message names the ref that is in the way, never the new one.
            let message = match there {
                "d" => "d/e cannot be a ref beside d:",
                "a/b" => "a cannot be a ref beside a/:",
                _ => "f/g cannot be a ref beside f/g/:",
            };
            assert!(import.stderr.contains(message), "{there}: {}", import.stderr);
            assert_eq!(place.refs("repo"), before, "{there}");
        }
        let _ = place.repo("repo", &["fsck"]).ok();
    }
}

/// A name that passes all checks but cannot be written.
#[test]
fn moved_names_are_restored_on_failure() {
    use std::os::unix::fs::PermissionsExt;
    privilege::without_root(|| {
        let place = Place::new();
        let bundle = bundle(&place, &["a", "b/new", "c", "z/locked"]);
        for name in ["a", "z/here"] {
            let _ = place.repo("repo", &["create", &place.tree(1), "--name", name]).ok();
        }
        let (before, folder) = (place.refs("repo"), place.path("repo/images/refs/z"));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
        let import = place.repo("repo", &["import", &bundle, "--refs"]);
        assert!(import.status == Some(1) && import.stderr.contains("Permission denied"), "{}", import.stderr);
        assert_eq!(place.refs("repo"), before);
        assert!(!Path::new(&place.path("repo/images/refs/b")).exists());
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let _ = place.repo("repo", &["import", &bundle, "--refs"]).ok();
        assert_eq!(place.refs("repo").len(), 5);
    });
}
