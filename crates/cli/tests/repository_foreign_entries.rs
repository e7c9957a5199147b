//! Entries among the refs, images and streams of a repository that this program did not create: gc keeps what they lead
//! to, and removes nothing at all as long as there is an entry it cannot interpret.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use libcomposefs_testkit::privilege;
use libcomposefs_testkit::program::{Outcome, Program};
use rustix::fs::{CWD, FileType, Mode, mknodat};

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

/// Function that returns the target of a symlink.
type Target = fn(&Place) -> PathBuf;
/// Function that creates an entry at a path.
type Plant = fn(&Place, &Path);

struct Place {
    dir: tempfile::TempDir,
    /// Fixture: a repository with an image without a name, and one with the name `named`.
    image: String,
    named: String,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut place = Self { dir, image: String::new(), named: String::new() };
        let _ = place.run(&["init", "--insecure"]).ok();
        place.image = place.run(&["create", &place.tree(1)]).ok().line().to_owned();
        place.named = place.run(&["create", &place.tree(2), "--name", "named"]).ok().line().to_owned();
        place
    }

    fn repo(&self, below: &str) -> PathBuf {
        self.dir.path().join("repo").join(below)
    }

    fn tree(&self, byte: u8) -> String {
        let tree = self.dir.path().join(format!("tree{byte}"));
        if !tree.exists() {
            fs::create_dir(&tree).unwrap();
            fs::write(tree.join("file"), [byte; 4000]).unwrap();
        }
        tree.to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let repo = self.repo("");
        let program = Program { path: Path::new(COMPOSEFS), name: "composefs" };
        program.run([&["--repo", repo.to_str().unwrap()], arguments].concat(), b"")
    }

    /// Returns the object that the link of an image leads to.
    fn object(&self, image: &str) -> PathBuf {
        fs::canonicalize(self.repo("images").join(image)).unwrap()
    }

    /// Returns all objects and image links.
    fn all(&self) -> BTreeSet<PathBuf> {
        let (mut found, mut waiting) = (BTreeSet::new(), vec![self.repo("objects"), self.repo("images")]);
        while let Some(path) = waiting.pop() {
            for entry in fs::read_dir(&path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    waiting.push(path);
                } else {
                    found.insert(path);
                }
            }
        }
        found
    }

    fn has(&self, image: &str) -> bool {
        self.repo("images").join(image).exists()
    }
}

#[test]
fn every_path_to_an_image_keeps_it() {
    let spellings: [(&str, Target); 8] = [
        ("absolute", |place| place.repo("images").join(&place.image)),
        ("longer", |place| format!("../../images/{}", place.image).into()),
        ("roundabout", |place| format!("../refs/../{}", place.image).into()),
        ("object", |place| place.object(&place.image)),
        (".hidden", |place| format!("../{}", place.image).into()),
        ("fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210", |place| {
            format!("../{}", place.image).into()
        }),
        (".folder/.deep/name", |place| format!("../../../{}", place.image).into()),
        ("control\u{7}/name", |place| format!("../../{}", place.image).into()),
    ];
    for (name, target) in spellings {
        let place = Place::new();
        let link = place.repo("images/refs").join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target(&place), &link).unwrap();
        expect_kept(&place, &link, name);
    }
    // Names that are not UTF-8; an alias of a name; a link in `images` with another name.
    let place = Place::new();
    let link = place.repo("images/refs").join(OsStr::from_bytes(b"\xff\xfe/\xe9"));
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink(format!("../../{}", place.image), &link).unwrap();
    expect_kept(&place, &link, "no text");
    let place = Place::new();
    symlink(format!("../{}", place.image), place.repo("images/refs/.first")).unwrap();
    symlink(".first", place.repo("images/refs/second")).unwrap();
    expect_kept(&place, &place.repo("images/refs/.first"), "an alias");
    let place = Place::new();
    symlink(&place.image, place.repo("images/latest")).unwrap();
    expect_kept(&place, &place.repo("images/latest"), "in images");
}

/// Asserts that gc and `fsck --repair` keep the image and the link until the link is removed.
#[track_caller]
fn expect_kept(place: &Place, link: &Path, what: &str) {
    let before = place.all();
    for arguments in [&["gc", "--grace=0"][..], &["fsck", "--repair"], &["gc", "--grace=0"]] {
        let done = place.run(arguments);
        assert_eq!(done.status, Some(0), "{what}: {arguments:?}: {}\n{}", done.line(), done.stderr);
        let after = place.all();
        assert!(after == before && link.exists(), "{what}: {arguments:?}: {:?}", before.difference(&after));
    }
    fs::remove_file(link).unwrap();
    // Now nothing leads to the image; an alias without its target cannot be interpreted.
    let _ = fs::remove_file(place.repo("images/refs/second"));
    let _ = place.run(&["gc", "--grace=0"]).ok();
    assert!(!place.has(&place.image) && place.has(&place.named), "{what}");
}

#[test]
fn unknown_entries_stop_gc_but_no_other_command() {
    let plant: [(&str, Plant); 11] = [
        ("images/refs/file", |_, path| fs::write(path, "no link").unwrap()),
        ("images/refs/fifo", |_, path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap()),
        ("images/refs/outside", |_, path| symlink("/etc/passwd", path).unwrap()),
        ("images/refs/itself", |_, path| symlink("itself", path).unwrap()),
        ("images/refs/.hidden", |_, path| symlink("nowhere", path).unwrap()),
        ("images/refs/folder", |place, path| symlink(place.dir.path(), path).unwrap()),
        ("images/file", |_, path| fs::write(path, "no link").unwrap()),
        ("images/directory", |_, path| fs::create_dir(path).unwrap()),
        ("streams/file", |_, path| fs::write(path, "no link").unwrap()),
        ("streams/outside", |_, path| symlink("../../outside", path).unwrap()),
        // An image is not a stream.
        ("streams/image", |place, path| symlink(place.object(&place.named), path).unwrap()),
    ];
    for (below, plant) in plant {
        let place = Place::new();
        let before = place.all();
        fs::create_dir_all(place.repo("streams")).unwrap();
        let path = place.repo(below);
        plant(&place, &path);
        let with = place.all();
        let gc = place.run(&["gc", "--grace=0"]);
        assert_eq!(gc.status, Some(1), "{below}: {}", gc.stderr);
        assert!(gc.stderr.contains(path.to_str().unwrap()), "{below}: {}", gc.stderr);
        assert!(gc.line().starts_with("0 images and 0 objects removed"), "{below}: {}", gc.line());
        assert_eq!(place.all(), with, "{below}");
        let json = place.run(&["gc", "--grace=0", "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(json["unclear"][0]["path"], path.to_str().unwrap(), "{below}");
        assert_eq!((&json["removed"]["objects"], &json["kept"]["images"]), (&0.into(), &1.into()), "{below}");
        // fsck reports it, and the other commands succeed.
        let fsck = place.run(&["fsck"]);
        assert!(fsck.status == Some(1) && fsck.line().contains(below), "{below}: {}", fsck.line());
        assert!(place.run(&["images"]).line().contains(&place.named), "{below}");
        for arguments in [
            &["create", &place.tree(2), "--name", "again"][..],
            &["tag", "named", "tagged"],
            &["untag", "tagged"],
            &["untag", "again"],
            &["df"],
            &["why", &place.named],
            &["mounts"],
        ] {
            let done = place.run(arguments);
            assert_eq!(done.status, Some(0), "{below}: {arguments:?}: {}", done.stderr);
        }
        if path.is_dir() && !path.is_symlink() { fs::remove_dir(&path) } else { fs::remove_file(&path) }.unwrap();
        let _ = place.run(&["gc", "--grace=0"]).ok();
        let after = place.all();
        assert!(after.len() + 3 == before.len() && after.is_subset(&before), "{below}: {after:?}");
    }
}

#[test]
fn a_dangling_name_does_not_stop_gc() {
    let place = Place::new();
    symlink(format!("../{}", "ab".repeat(32)), place.repo("images/refs/dangling")).unwrap();
    symlink(format!("../{}", "cd".repeat(32)), place.repo("images/refs/.dangling")).unwrap();
    fs::create_dir_all(place.repo("streams/refs/oci")).unwrap();
    symlink("../../oci-manifest-sha256:ab", place.repo("streams/refs/oci/tag")).unwrap();
    let gc = place.run(&["gc", "--grace=0"]);
    assert!(gc.status == Some(1) && gc.stderr.contains("dangling is a name of ab"), "{}", gc.stderr);
    assert!(!place.has(&place.image) && place.has(&place.named));
    // Such names are not removed: their images may return.
    let _ = place.run(&["fsck", "--repair"]);
    assert!(place.repo("images/refs/.dangling").is_symlink() && place.repo("images/refs/dangling").is_symlink());
}

/// An option without any effect is rejected.
#[test]
fn basedir_for_an_image_of_a_repository_is_rejected() {
    let place = Place::new();
    let mount = |options: &str| place.run(&["mount", "--dry-run", "named", "/mnt", "-o", options]);
    let refused = mount("ro,basedir=/elsewhere");
    assert!(refused.status == Some(1) && refused.stderr.contains("basedir= cannot be used"), "{}", refused.stderr);
    let _ = mount("ro").ok();
}

/// While the own object of a named image is missing, the objects that the image needs are unknown: the image may be
/// restored, and then needs them.
#[test]
fn a_named_image_whose_object_is_missing_keeps_all_objects() {
    let place = Place::new();
    let (object, aside) = (place.object(&place.named), place.repo("aside"));
    fs::rename(&object, &aside).unwrap();
    let before = place.all();
    let gc = place.run(&["gc", "--grace=0"]);
    assert!(gc.status == Some(1) && gc.stderr.contains("no object was removed"), "{}", gc.stderr);
    // Only the link of the image without a name is removed.
    let gone: Vec<_> = before.difference(&place.all()).cloned().collect();
    assert!(gone.len() == 1 && gone[0].ends_with(&place.image), "{gone:?}");
    fs::rename(&aside, &object).unwrap();
    let _ = place.run(&["gc", "--grace=0"]).ok();
    assert!(place.has(&place.named));
    let _ = place.run(&["fsck"]).ok();
}

/// An image whose object cannot be opened may be in use elsewhere.
#[test]
fn an_image_that_cannot_be_opened_counts_as_used() {
    privilege::without_root(|| {
        let place = Place::new();
        let object = place.object(&place.image);
        fs::set_permissions(&object, fs::Permissions::from_mode(0o000)).unwrap();
        let before = place.all();
        let gc = place.run(&["gc", "--grace=0"]);
        assert!(gc.status == Some(1) && gc.stderr.contains("Permission denied"), "{}", gc.stderr);
        assert_eq!(place.all(), before);
        fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
        let _ = place.run(&["gc", "--grace=0"]).ok();
        assert!(!place.has(&place.image) && place.has(&place.named));
        // A directory of refs that cannot be read does not count as empty.
        let folder = place.repo("images/refs/.folder");
        fs::create_dir(&folder).unwrap();
        symlink(format!("../../{}", place.named), folder.join("name")).unwrap();
        let _ = place.run(&["untag", "named"]).ok();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).unwrap();
        let gc = place.run(&["gc", "--grace=0"]);
        assert!(gc.status == Some(1) && gc.stderr.contains(".folder"), "{}", gc.stderr);
        assert!(place.has(&place.named));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let _ = place.run(&["gc", "--grace=0"]).ok();
        assert!(place.has(&place.named));
    });
}

/// gc removes with a grace of zero exactly what it has announced.
#[test]
fn a_grace_of_zero_removes_what_was_kept_as_young() {
    let place = Place::new();
    for byte in 3..6 {
        let _ = place.run(&["create", &place.tree(byte), "--name", "gone"]).ok();
    }
    let _ = place.run(&["untag", "gone"]).ok();
    // An object of no image, and an object that the named image needs too.
    let _ = place.run(&["create", &place.tree(7)]).ok();
    fs::remove_file(place.repo("images").join(place.run(&["create", &place.tree(7)]).ok().line())).unwrap();
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&place.run(&[&["gc", "--json"], arguments].concat()).ok().stdout).unwrap()
    };
    let before = place.all();
    let (kept, would) = (json(&[]), json(&["--grace=0", "--dry-run"]));
    assert_eq!(place.all(), before);
    assert_eq!((&kept["removed"]["objects"], &kept["grace_seconds"]), (&0.into(), &3600.into()));
    let text = place.run(&["gc"]).ok();
    let images = "4 images without a ref, published less than 1 h ago: kept (--grace)";
    assert!(text.line().lines().any(|line| line == images), "{}", text.line());
    let line = text.line().lines().find(|line| line.starts_with("10 objects, "));
    assert!(
        line.is_some_and(|line| line.ends_with("less than 1 h ago or needed by such an image: kept (--grace)")),
        "{}",
        text.line()
    );
    let removed = json(&["--grace=0"]);
    for other in [&would["removed"], &removed["removed"]] {
        assert_eq!(kept["young"], *other);
    }
    assert_eq!((kept["young"]["images"].as_array().unwrap().len(), &kept["young"]["objects"]), (4, &10.into()));
    assert_eq!((&kept["kept"], &kept["kept"]), (&removed["kept"], &would["kept"]));
    assert_eq!(json(&["--grace=0"])["young"]["objects"], 0);
}
