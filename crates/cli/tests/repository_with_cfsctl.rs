//! Repositories in which cfsctl 0.9.4 works too: gc and `fsck --repair` of this program keep whatever cfsctl keeps.
//!
//! The tests run the real cfsctl (`cargo xtask peers --rust`); without it they are skipped by name.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::{privilege, skip};
use rustix::fs::{FlockOperation, flock};
use serde_json::json;

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

fn cfsctl_path() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("COMPOSEFS_PEERS")?).join("cfsctl");
    path.exists().then_some(path)
}

/// Returns true if cfsctl is installed; otherwise announces that the test is skipped.
fn has_cfsctl(test: &str) -> bool {
    let is_there = cfsctl_path().is_some();
    if !is_there {
        skip::announce(test, "cfsctl 0.9.4 is not there: COMPOSEFS_PEERS=$(cargo xtask peers --rust)");
    }
    is_there
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        let _ = place.ours(&["init", "--insecure"]).ok();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    fn ours(&self, arguments: &[&str]) -> Outcome {
        self.run(Path::new(COMPOSEFS), "composefs", arguments)
    }

    fn theirs(&self, arguments: &[&str]) -> Outcome {
        self.run(&cfsctl_path().unwrap(), "cfsctl", arguments)
    }

    fn run(&self, path: &Path, name: &str, arguments: &[&str]) -> Outcome {
        Program { path, name }.run([&["--repo", self.repo().to_str().unwrap()], arguments].concat(), b"")
    }

    /// Creates a tree with one file, stored as an object, that consists of this byte.
    fn tree(&self, byte: u8) -> String {
        let tree = self.path(&format!("tree{byte}"));
        if !tree.exists() {
            fs::create_dir_all(tree.join("usr")).unwrap();
            fs::write(tree.join("usr/file"), [byte; 4000]).unwrap();
        }
        tree.to_str().unwrap().to_owned()
    }

    /// Creates a named image of such a tree with cfsctl. Returns its digest in hex.
    fn create_by_theirs(&self, byte: u8, name: &str) -> String {
        let made = self.theirs(&["create-image", "--no-propagate-usr-to-root", &self.tree(byte), name]).ok();
        made.line().rsplit(':').next().unwrap().to_owned()
    }

    /// Creates an image of such a tree without a name. Returns its digest in hex.
    fn create(&self, byte: u8) -> String {
        self.ours(&["create", &self.tree(byte)]).ok().line().to_owned()
    }

    /// Returns the links in `images`.
    fn images(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.repo().join("images")).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).filter(|name| name != "refs").collect()
    }

    /// Returns the links in `streams`.
    fn streams(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.repo().join("streams")).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).filter(|name| name != "refs").collect()
    }

    /// Pulls an image of a layer for each byte with cfsctl, by this name.
    fn pull(&self, name: &str, bytes: &[u8]) {
        let layout = self.path(&format!("layout{}", bytes.iter().map(u8::to_string).collect::<String>()));
        if !layout.exists() {
            let trees: Vec<String> = bytes.iter().map(|byte| self.tree(*byte)).collect();
            oci_layout(&trees.iter().map(String::as_str).collect::<Vec<_>>(), &layout);
        }
        let _ = self.theirs(&["oci", "pull", &format!("oci:{}:tag", layout.display()), name]).ok();
    }

    fn objects(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for fan in fs::read_dir(self.repo().join("objects")).unwrap() {
            let fan = fan.unwrap();
            for object in fs::read_dir(fan.path()).unwrap() {
                found.insert(format!("{}{}", fan.file_name().display(), object.unwrap().file_name().display()));
            }
        }
        found
    }

    /// Returns the content of `usr/file` in an image, mounted by either program; only root may mount.
    fn mounted(&self, arguments: &[&str], by_theirs: bool) -> Vec<u8> {
        let target = self.path("mnt");
        fs::create_dir_all(&target).unwrap();
        let all = [arguments, &[target.to_str().unwrap()]].concat();
        let _ = if by_theirs { self.theirs(&all) } else { self.ours(&all) }.ok();
        let content = fs::read(target.join("usr/file"));
        assert!(Command::new("umount").arg(&target).status().unwrap().success());
        content.unwrap()
    }
}

fn sha256(bytes: &[u8]) -> String {
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// Creates an OCI layout with one image, of a layer for each tree. No network is needed to pull it.
fn oci_layout(trees: &[&str], layout: &Path) {
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let put = |bytes: &[u8]| {
        let hex = sha256(bytes);
        fs::write(layout.join("blobs/sha256").join(&hex), bytes).unwrap();
        format!("sha256:{hex}")
    };
    let mut layers = Vec::new();
    for tree in trees {
        let tar = Command::new("tar").args(["-C", tree, "--sort=name", "-cf", "-", "."]).output().unwrap();
        assert!(tar.status.success());
        layers.push((put(&tar.stdout), tar.stdout.len()));
    }
    let diff_ids: Vec<&str> = layers.iter().map(|(digest, _)| digest.as_str()).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "history": [],
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = config.to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": put(config.as_bytes()),
            "size": config.len(),
        },
        "layers": layers.iter().map(|(digest, size)| json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size,
        })).collect::<Vec<_>>(),
    });
    let manifest = manifest.to_string();
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": put(manifest.as_bytes()),
            "size": manifest.len(),
            "annotations": { "org.opencontainers.image.ref.name": "tag" },
        }],
    });
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// An OCI image pulled by cfsctl has a link in `images` that only streams name.
#[test]
fn images_that_streams_name_are_kept() {
    if !has_cfsctl("images_that_streams_name_are_kept") {
        return;
    }
    for hash in ["sha256", "sha512"] {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        let _ = place.ours(&["init", "--insecure", "--format=1", "--algorithm", hash]).ok();
        let layout = place.path("layout");
        oci_layout(&[&place.tree(1)], &layout);
        let _ = place.theirs(&["oci", "pull", &format!("oci:{}:tag", layout.display()), "pulled"]).ok();
        let (images, image) = (place.images(), place.images().pop_first().unwrap());
        assert_eq!(images.len(), 1);
        // An unneeded object, so that each gc has something to do.
        let _ = place.create(2);
        let _ = place.theirs(&["gc"]).ok();
        let (kept, _) = (place.objects(), place.create(3));
        assert_eq!(place.images().len(), 2);
        for _ in 0..2 {
            let _ = place.ours(&["gc", "--grace=0"]).ok();
            assert_eq!((place.images(), place.objects()), (images.clone(), kept.clone()), "{hash}");
            let _ = place.theirs(&["gc"]).ok();
        }
        assert_eq!((place.images(), place.objects()), (images.clone(), kept.clone()), "{hash}");
        assert!(place.theirs(&["fsck"]).ok().line().ends_with("status: ok"));
        assert!(place.ours(&["fsck"]).ok().line().ends_with("no problems found"));
        assert!(place.ours(&["fsck", "--repair"]).ok().line().ends_with("no problems found"));
        let _ = place.theirs(&["oci", "inspect", "pulled"]).ok();
        let why = place.ours(&["why", &image]).ok();
        assert!(why.line().contains("streams/oci-config-sha256:"), "{}", why.line());
        let object = place.ours(&["digest", "--algorithm", hash, &format!("{}/usr/file", place.tree(1))]);
        let object = object.ok().line().split(' ').next().unwrap().to_owned();
        assert!(place.ours(&["why", &object]).ok().line().contains("kept by streams/"), "{hash}");
        if privilege::is_root() {
            assert_eq!(place.mounted(&["oci", "mount", "pulled"], true), [1; 4000]);
            assert_eq!(place.mounted(&["mount", &image], false), [1; 4000]);
        } else {
            skip::announce("images_that_streams_name_are_kept", "mounting takes root");
        }
        // Without its tag nothing needs the image.
        let _ = place.theirs(&["oci", "untag", "pulled"]).ok();
        let _ = place.ours(&["gc", "--grace=0"]).ok();
        assert!(place.images().is_empty() && place.objects().is_empty() && place.streams().is_empty(), "{hash}");
    }
}

/// Images that share a layer, and an untagged image: either gc removes what the other one would.
#[test]
fn either_gc_removes_untagged_images_and_keeps_shared_layers() {
    if !has_cfsctl("either_gc_removes_untagged_images_and_keeps_shared_layers") {
        return;
    }
    let mut left = Vec::new();
    for ours_is_first in [true, false] {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        let _ = place.ours(&["init", "--insecure", "--format=1"]).ok();
        for (name, bytes) in [("kept", &[1, 2][..]), ("gone", &[1, 3]), ("again", &[1, 2])] {
            place.pull(name, bytes);
        }
        assert_eq!((place.streams().len(), place.images().len()), (7, 2));
        let _ = place.theirs(&["oci", "untag", "gone"]).ok();
        let _ = place.theirs(&["oci", "untag", "again"]).ok();
        let young = place.ours(&["gc"]).ok();
        assert!(young.line().contains("3 streams of OCI images without a tag, pulled less"), "{}", young.line());
        assert_eq!(place.streams().len(), 7);
        let gc = |by_ours: bool| if by_ours { place.ours(&["gc", "--grace=0"]) } else { place.theirs(&["gc"]) };
        let _ = gc(ours_is_first).ok();
        let found = (place.images(), place.objects(), place.streams());
        assert_eq!((found.0.len(), found.2.len()), (1, 4));
        assert!(place.theirs(&["oci", "fsck"]).ok().line().ends_with("oci images: 1/1 ok"));
        let _ = gc(!ours_is_first).ok();
        assert_eq!((place.images(), place.objects(), place.streams()), found);
        assert!(place.ours(&["fsck"]).ok().line().ends_with("no problems found"));
        left.push(found.1.len());
        // Pulled again after half of it was removed.
        place.pull("gone", &[1, 3]);
        assert!(place.theirs(&["oci", "fsck"]).ok().line().ends_with("oci images: 2/2 ok"));
        assert!(place.ours(&["fsck"]).ok().line().ends_with("no problems found"));
    }
    assert_eq!(left[0], left[1], "objects that ours and theirs leave");
}

/// cfsctl tags an untagged image, or pulls it or another one with its layers, while gc waits for the lock.
#[test]
fn streams_that_cfsctl_publishes_while_gc_waits_are_kept() {
    if !has_cfsctl("streams_that_cfsctl_publishes_while_gc_waits_are_kept") {
        return;
    }
    for what in ["tag", "pull", "pull another", "pull and untag", "nothing"] {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        let _ = place.ours(&["init", "--insecure", "--format=1"]).ok();
        place.pull("first", &[1, 2]);
        let all = (place.images(), place.streams(), place.objects());
        let manifest = place.streams().into_iter().find(|name| name.contains("manifest")).unwrap();
        let manifest = manifest.strip_prefix("oci-manifest-").unwrap();
        let _ = place.theirs(&["oci", "untag", "first"]).ok();
        gc_waits_while(&place, || match what {
            "tag" => drop(place.theirs(&["oci", "tag", manifest, "second"]).ok()),
            "pull" => place.pull("second", &[1, 2]),
            "pull another" => place.pull("second", &[1, 3]),
            "pull and untag" => {
                place.pull("second", &[1, 3]);
                let _ = place.theirs(&["oci", "untag", "second"]).ok();
            }
            _ => {}
        });
        let now = (place.images(), place.streams(), place.objects());
        match what {
            "tag" | "pull" => {
                // Streams that are written again have other digests.
                assert_eq!((&now.0, &now.1), (&all.0, &all.1), "{what}");
            }
            "pull another" => assert_eq!((now.0.len(), now.1.len()), (1, 4), "{what}"),
            // New links are kept by a gc that has not seen them when it began.
            "pull and untag" => assert_eq!((now.0.len(), now.1.len()), (1, 4), "{what}"),
            _ => assert!(now.0.is_empty() && now.1.is_empty() && now.2.is_empty(), "{now:?}"),
        }
        if what != "pull and untag" {
            let count = usize::from(what != "nothing");
            let fsck = place.theirs(&["oci", "fsck"]).ok();
            assert!(fsck.line().ends_with(&format!("oci images: {count}/{count} ok")), "{what}: {}", fsck.line());
        }
        assert!(place.ours(&["fsck"]).ok().line().ends_with("no problems found"), "{what}");
    }
}

/// Names that cfsctl creates and this program rejects.
#[test]
fn names_that_only_cfsctl_creates_are_kept() {
    if !has_cfsctl("names_that_only_cfsctl_creates_are_kept") {
        return;
    }
    let names = [".staged", "a/.b/c", &"0123456789abcdef".repeat(4), "control\u{7}name", "plain"];
    for arguments in [&["gc", "--grace=0"][..], &["fsck", "--repair"]] {
        let place = Place::new();
        for (number, name) in names.iter().enumerate() {
            place.create_by_theirs(number as u8, name);
        }
        let before = (place.images(), place.objects(), place.theirs(&["images"]).ok().stdout);
        assert_eq!(before.0.len(), names.len());
        let done = place.ours(arguments);
        assert_eq!(done.status, Some(0), "{arguments:?}: {}{}", done.line(), done.stderr);
        let after = (place.images(), place.objects(), place.theirs(&["images"]).ok().stdout);
        assert_eq!(after, before, "{arguments:?}");
        assert!(place.theirs(&["fsck"]).ok().line().ends_with("status: ok"));
        // Without its name the image is removed.
        fs::remove_file(place.repo().join("images/refs/.staged")).unwrap();
        let _ = place.ours(&["gc", "--grace=0"]).ok();
        assert_eq!(place.images().len(), names.len() - 1);
    }
}

/// Starts a gc that must wait for the lock, runs `meanwhile`, lets the gc continue and asserts that it succeeds. Other
/// programs hold the lock while they run.
fn gc_waits_while(place: &Place, meanwhile: impl FnOnce()) {
    let lock = fs::File::open(place.repo()).unwrap();
    flock(&lock, FlockOperation::LockShared).unwrap();
    let mut gc = Command::new(COMPOSEFS);
    gc.arg("--repo").arg(place.repo()).args(["gc", "--grace=0"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut gc = gc.spawn().unwrap();
    // It prints that it waits after a second. By then it has scanned everything once.
    let mut said = std::io::BufReader::new(gc.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(line.contains("waiting"), "{line}");
    meanwhile();
    drop(lock);
    let end = Instant::now() + Duration::from_secs(60);
    while gc.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "gc does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(gc.wait().unwrap().code(), Some(0));
}

/// cfsctl creates an image while gc waits, and relies on an object that was not needed before.
#[test]
fn images_that_cfsctl_publishes_while_gc_waits_are_kept() {
    if !has_cfsctl("images_that_cfsctl_publishes_while_gc_waits_are_kept") {
        return;
    }
    let place = Place::new();
    let image = place.create_by_theirs(1, "old");
    let objects = place.objects();
    let _ = place.ours(&["untag", "old"]).ok();
    fs::remove_file(place.repo().join("images").join(&image)).unwrap();
    gc_waits_while(&place, || assert_eq!(place.create_by_theirs(1, "new"), image));
    assert_eq!((place.images(), place.objects()), (BTreeSet::from([image]), objects));
    assert!(place.theirs(&["fsck"]).ok().line().ends_with("status: ok"));
    assert!(place.ours(&["fsck"]).ok().line().ends_with("no problems found"));
}

#[test]
fn images_published_while_gc_waits_are_kept() {
    // Cases: a name for an image that had none; an image whose objects are old; a name in another program's form;
    // nothing.
    for what in ["a name", "an image", "an odd name", "a link of an image only", "nothing"] {
        let place = Place::new();
        let (image, other) = (place.create(1), place.create(2));
        let all = place.objects();
        let (images, refs) = (place.repo().join("images"), place.repo().join("images/refs"));
        let link = fs::read_link(images.join(&image)).unwrap();
        if matches!(what, "an image" | "a link of an image only") {
            fs::remove_file(images.join(&image)).unwrap();
        }
        gc_waits_while(&place, || match what {
            "a name" => symlink(format!("../{image}"), refs.join("new")).unwrap(),
            "an odd name" => symlink(images.join(&image), refs.join(".new")).unwrap(),
            "an image" => {
                symlink(&link, images.join(&image)).unwrap();
                symlink(format!("../{image}"), refs.join("new")).unwrap();
            }
            "a link of an image only" => symlink(&link, images.join(&image)).unwrap(),
            _ => {}
        });
        if what == "nothing" {
            assert!(place.images().is_empty() && place.objects().is_empty());
            continue;
        }
        assert_eq!(place.images(), BTreeSet::from([image]), "{what}");
        let left = place.objects();
        assert!(left.len() == 2 && left.is_subset(&all) && !left.contains(&other), "{what}: {left:?}");
        assert!(place.ours(&["fsck"]).ok().line().ends_with("no problems found"), "{what}");
    }
}
