//! `composefs oci pull --per-layer`: images of single layers, joined to the file system that the whole image has.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_testkit::privilege::is_root;
use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::scratch::ScratchRepository;
use libcomposefs_testkit::{oci, skip};
use serde_json::Value;

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

struct Place(ScratchRepository);

impl Place {
    /// A repository, and a layout with an image of four layers.
    fn new() -> Self {
        let place = Self(ScratchRepository::new(COMPOSEFS));
        let layers: Vec<_> = layers().into_iter().map(|archive| (archive.clone(), archive)).collect();
        oci::write_layout(&place.path("layout"), "layer.v1.tar", &layers);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.0.run(arguments)
    }

    fn run_in(&self, repository: &str, arguments: &[&str]) -> Outcome {
        let repository = self.path(repository);
        let program = Program { path: Path::new(COMPOSEFS), name: "composefs" };
        program.run([&["--repo", repository.to_str().unwrap()][..], arguments].concat(), b"")
    }

    fn ok(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.run(arguments).ok().stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    fn pull(&self, options: &[&str]) -> Value {
        let source = format!("oci:{}", self.path("layout").display());
        self.json(&[&["oci", "pull", &source, "--name=image", "--json", "--keep-blobs=no"], options].concat())
    }
}

/// The archives of the layers: each step that a layer can make is in one of them.
fn layers() -> Vec<Vec<u8>> {
    let layer = |name: &str, files: &[(&str, &str)], members: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("-> ") {
                Some(target) => fs::hard_link(dir.path().join(target), &path).unwrap(),
                None => fs::write(&path, content).unwrap(),
            }
        }
        let mode = if name == "third" { 0o700 } else { 0o755 };
        fs::set_permissions(dir.path().join("usr"), fs::Permissions::from_mode(mode)).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--sort=name", "--owner=7", "--group=8", "--no-recursion", "-cf-"]);
        tar.arg(format!("--mtime=@{}", name.len())).arg("-C").arg(dir.path()).args(members);
        let output = tar.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let long = "x".repeat(5000);
    vec![
        layer(
            "one",
            &[
                ("usr/gone", "gone"),
                ("usr/kept", &long),
                ("usr/opaque/old", "old"),
                ("usr/opaque/deep/old", "old"),
                ("usr/becomes_file/x", "x"),
                ("usr/becomes_directory", "x"),
                ("usr/linked", "linked"),
                ("usr/both", "-> usr/linked"),
                ("usr/moved/a", "a"),
                ("run/secret", "no"),
            ],
            &[
                "run",
                "run/secret",
                "usr",
                "usr/becomes_directory",
                "usr/becomes_file",
                "usr/becomes_file/x",
                "usr/both",
                "usr/gone",
                "usr/kept",
                "usr/linked",
                "usr/moved",
                "usr/moved/a",
                "usr/opaque",
                "usr/opaque/deep",
                "usr/opaque/deep/old",
                "usr/opaque/old",
            ],
        ),
        // A file below a directory that the layer does not have, and whiteouts.
        layer(
            "second",
            &[
                ("usr/.wh.gone", ""),
                ("usr/opaque/.wh..wh..opq", ""),
                ("usr/opaque/new", "new"),
                ("usr/moved/.wh.a", ""),
            ],
            &["usr/.wh.gone", "usr/moved/.wh.a", "usr/opaque/.wh..wh..opq", "usr/opaque/new"],
        ),
        // Kinds change, a name of a hard link goes, and the mode of a directory.
        layer(
            "third",
            &[("usr/becomes_file", "now a file"), ("usr/becomes_directory/y", &long), ("usr/.wh.both", "")],
            &["usr", "usr/.wh.both", "usr/becomes_directory", "usr/becomes_directory/y", "usr/becomes_file"],
        ),
        // What was removed comes back.
        layer("fourth", &[("usr/gone", "again"), ("usr/opaque/old", "another")], &["usr/gone", "usr/opaque/old"]),
    ]
}

/// A mounted image, as one archive: contents, metadata and hard links.
fn mounted(place: &Place, options: &[&str]) -> Vec<u8> {
    let target = place.path("mnt");
    fs::create_dir_all(&target).unwrap();
    place.ok(&[&["oci", "mount", "image", target.to_str().unwrap()], options].concat());
    let tar = Command::new("tar").args(["--sort=name", "--xattrs", "-cf-", "-C"]).arg(&target).arg(".").output();
    let removed = place.run(&["umount", target.to_str().unwrap()]);
    let tar = tar.unwrap();
    assert!(tar.status.success() && removed.status == Some(0), "{tar:?} {removed:?}");
    tar.stdout
}

/// Returns whether this kernel joins images of layers; announces that the test is skipped if not.
fn can_mount(test: &str) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let numbers: Vec<u32> = release.split(['.', '-']).filter_map(|number| number.parse().ok()).take(2).collect();
    let reason = match (is_root(), numbers[..] >= [6, 7][..]) {
        (false, _) => "only root mounts",
        (true, false) => "overlayfs shows whiteouts of composefs images from Linux 6.7",
        (true, true) => return true,
    };
    skip::announce(test, reason);
    false
}

#[test]
fn the_mounted_tree_is_that_of_the_whole_image() {
    if !can_mount("the_mounted_tree_is_that_of_the_whole_image") {
        return;
    }
    let place = Place::new();
    place.pull(&["--per-layer"]);
    let whole = mounted(&place, &[]);
    assert!(whole.windows(10).any(|bytes| bytes == b"now a file"));
    assert!(mounted(&place, &["--per-layer"]) == whole, "the trees differ");
    let changes = place.path("changes");
    fs::create_dir_all(changes.join("upper")).unwrap();
    fs::create_dir_all(changes.join("work")).unwrap();
    let upper = format!("-oupperdir={0}/upper,workdir={0}/work", changes.display());
    assert!(mounted(&place, &["--per-layer", &upper]).len() == whole.len());
    let dry = place.ok(&["oci", "mount", "image", "mnt", "--per-layer", "--dry-run"]);
    assert!(dry.starts_with("layer 1 ") && dry.contains("\noverlay "), "{dry}");
}

#[test]
fn images_of_layers_live_as_long_as_the_image() {
    let place = Place::new();
    let whole = place.pull(&[]);
    let without = place.run(&["oci", "mount", "image", "mnt", "--per-layer"]);
    assert!(without.status == Some(1) && without.stderr.contains("oci pull --per-layer"), "{without:?}");
    let pulled = place.pull(&["--per-layer"]);
    assert_eq!(whole["image"], pulled["image"]);
    let images: Vec<&str> = pulled["layers"].as_array().unwrap().iter().map(|l| l["image"].as_str().unwrap()).collect();
    assert_eq!(images.len(), 4);
    let has = |place: &Place| images.iter().filter(|image| place.path("repo/images").join(image).exists()).count();
    place.ok(&["gc", "--grace=0"]);
    assert_eq!(has(&place), 4);
    place.ok(&["fsck"]);
    let verified = place.ok(&["oci", "verify", "image"]);
    assert_eq!(verified, "image: manifest, configuration, 4 layers and 5 composefs images are right\n");
    let inspected = place.json(&["oci", "inspect", "image", "--json"]);
    assert_eq!(inspected["layers"][2]["image"], images[2]);
    assert!(place.ok(&["oci", "inspect", "image"]).contains(images[1]));
    let why = place.ok(&["why", images[3]]);
    assert!(why.contains("composefs-layers-sha256:") && why.contains("image"), "{why}");
    let listed = place.json(&["images", "--json"]);
    let unnamed = listed["images"].as_array().unwrap().iter().filter(|image| {
        let is_empty = |field: &str| image[field].as_array().unwrap().is_empty();
        is_empty("refs") && is_empty("oci") && is_empty("layer_of")
    });
    assert_eq!(unnamed.count(), 0, "{listed}");
    assert_eq!(place.ok(&["images", "-q"]), "image\n");
    // A pull without the option keeps them.
    place.pull(&[]);
    place.ok(&["gc", "--grace=0"]);
    assert_eq!(has(&place), 4);
    // A copy has them too.
    let _ = place.run_in("copy", &["init", "--insecure", "--format=1"]).ok();
    let from = place.path("repo");
    let _ = place.run_in("copy", &["sync", from.to_str().unwrap(), "--oci=image"]).ok();
    let copied = place.run_in("copy", &["oci", "inspect", "image", "--json"]).ok().stdout;
    assert_eq!(serde_json::from_slice::<Value>(&copied).unwrap()["layers"], inspected["layers"]);

    place.ok(&["oci", "untag", "image"]);
    place.ok(&["gc", "--grace=0"]);
    let left = |below: &str| fs::read_dir(place.path("repo").join(below)).unwrap().count();
    assert_eq!((has(&place), left("streams/refs/composefs-layers")), (0, 0));
    // Only refs/ is left.
    assert_eq!((left("images"), left("streams")), (1, 1));
}

#[test]
fn cfsctl_leaves_images_of_layers_alone() {
    let test = "cfsctl_leaves_images_of_layers_alone";
    let peers = std::env::var_os("COMPOSEFS_PEERS").map(|peers| PathBuf::from(peers).join("cfsctl"));
    let Some(cfsctl) = peers.filter(|cfsctl| cfsctl.exists()) else {
        return skip::announce(test, "cfsctl 0.9.4 is not there: COMPOSEFS_PEERS=$(cargo xtask peers --rust)");
    };
    let place = Place::new();
    let pulled = place.pull(&["--per-layer"]);
    let repository = place.path("repo");
    let theirs = |arguments: &[&str]| {
        let before = ["--insecure", "--repo", repository.to_str().unwrap()];
        Program { path: &cfsctl, name: "cfsctl" }.run([&before[..], arguments].concat(), b"").ok()
    };
    let checked = theirs(&["oci", "fsck"]);
    assert!(String::from_utf8_lossy(&checked.stdout).contains("status: ok"), "{checked:?}");
    theirs(&["fsck"]);
    theirs(&["gc"]);
    let inspected = place.json(&["oci", "inspect", "image", "--json"]);
    let images = |report: &Value| -> Vec<Value> {
        report["layers"].as_array().unwrap().iter().map(|layer| layer["image"].clone()).collect()
    };
    assert_eq!(images(&inspected), images(&pulled));
    place.ok(&["fsck"]);
    place.ok(&["oci", "verify", "image"]);
}
