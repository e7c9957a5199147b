//! OCI images of one repository in another: the same image, made anew from layers that were compared.

use std::fs;
use std::path::{Path, PathBuf};

use libcomposefs_testkit::oci;
use libcomposefs_testkit::program::{Outcome, Program};
use serde_json::Value;

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");
const LAYOUT: &str = "three-layers";

struct Place(tempfile::TempDir);

impl Place {
    /// A repository `from` that has an image, and an empty one `to`.
    fn new(layout: &str, algorithm: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.ok("from", &["init", "--insecure", "--format=1"]);
        place.ok("to", &["init", "--insecure", "--format=1", "--algorithm", algorithm]);
        let layout = oci::unpack_layout(layout, place.0.path());
        let source = format!("oci:{}", layout.display());
        // Kept blobs would be copied too: most of these tests are about documents and layers.
        place.ok("from", &["oci", "pull", &source, "--name=a/b:1", "--keep-blobs=no"]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn run(&self, repository: &str, arguments: &[&str]) -> Outcome {
        let program = Program { path: Path::new(COMPOSEFS), name: "composefs" };
        program.run([&["--repo", &self.text(repository)][..], arguments].concat(), b"")
    }

    fn ok(&self, repository: &str, arguments: &[&str]) -> String {
        String::from_utf8(self.run(repository, arguments).ok().stdout).unwrap()
    }

    fn json(&self, repository: &str, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(repository, arguments)).unwrap()
    }

    fn pull(&self) -> Outcome {
        self.run("to", &["oci", "pull", &format!("repo:{}:a/b:1", self.text("from")), "--json"])
    }

    /// Expects that the image is refused with these words, and has no name.
    fn expect_refusal(&self, words: &str) {
        let outcome = self.pull();
        assert_eq!(outcome.status, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
        assert_eq!(self.ok("to", &["oci", "images", "-q"]), "");
    }

    /// The links of the layers of a repository, sorted by name.
    fn layers(&self, repository: &str) -> Vec<(PathBuf, PathBuf)> {
        let entries = fs::read_dir(self.path(repository).join("streams")).unwrap();
        let links = entries.map(|entry| entry.unwrap().path());
        let links = links.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("oci-layer-"));
        let mut layers: Vec<_> = links.map(|path| (path.clone(), fs::read_link(&path).unwrap())).collect();
        layers.sort();
        layers
    }
}

/// The digest that cfsctl gives to the image of a layout.
fn recorded(layout: &str, algorithm: &str) -> Option<String> {
    let fits = |row: &oci::RecordedDigest| {
        row.layout == layout
            && row.algorithm == algorithm
            && row.version == "1"
            && row.xattrs == "allowlist-only"
            && !row.is_bootable
    };
    oci::recorded().into_iter().find(fits).unwrap().digest
}

#[test]
fn a_pull_from_a_repository_gives_the_same_image() {
    for layout in [LAYOUT, "layer-same-twice", "sparse-pax-10", "names-bytes"] {
        for algorithm in ["sha256", "sha512"] {
            let place = Place::new(layout, algorithm);
            let pulled: Value = serde_json::from_slice(&place.pull().ok().stdout).unwrap();
            let there = place.json("from", &["oci", "inspect", "a/b:1", "--json"]);
            assert_eq!(pulled["name"], "a/b:1");
            assert_eq!(pulled["manifest"], there["manifest"], "{there}");
            if let Some(expected) = recorded(layout, algorithm) {
                assert_eq!(pulled["image"], expected, "{layout} {algorithm}");
            }
            place.ok("to", &["oci", "verify", "a/b:1"]);
            place.ok("to", &["fsck"]);
        }
    }
}

#[test]
fn sync_copies_an_oci_image_once() {
    let place = Place::new(LAYOUT, "sha256");
    let from = place.text("from");
    let dry = place.ok("to", &["sync", &from, "--oci=a/b:1", "--dry-run"]);
    assert!(dry.ends_with(" a/b:1: the image and missing objects\n"), "{dry}");
    assert_eq!(place.ok("to", &["oci", "images", "-q"]), "");
    let copied = place.json("to", &["sync", &from, "--oci=a/b:1", "--json"]);
    assert_eq!((&copied[0]["oci"], &copied[0]["done"]), (&true.into(), &true.into()));
    assert_eq!(copied[0]["image"], recorded(LAYOUT, "sha256").unwrap());
    let again = place.ok("to", &["sync", &from, "--oci=a/b:1"]);
    assert!(again.ends_with(" a/b:1: up to date\n"), "{again}");
    let refused = place.run("to", &["sync", &from, "--oci=none"]);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    // The copy is whole without its source.
    fs::remove_dir_all(place.path("from")).unwrap();
    place.ok("to", &["oci", "verify", "a/b:1"]);
    place.ok("to", &["fsck"]);
}

#[test]
fn a_repository_that_lies_is_refused() {
    let place = Place::new(LAYOUT, "sha256");
    // The name of one layer leads to the stream of another.
    let layers = place.layers("from");
    let (name, target) = &layers[0];
    fs::remove_file(name).unwrap();
    std::os::unix::fs::symlink(&layers[1].1, name).unwrap();
    place.expect_refusal("diff_ids");
    fs::remove_file(name).unwrap();
    std::os::unix::fs::symlink(target, name).unwrap();

    // A content has other bytes than its digest says.
    let objects = fs::read_dir(place.path("from").join("objects")).unwrap();
    let files = objects.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let is_content = |path: &&PathBuf| {
        let bytes = fs::read(path).unwrap();
        bytes.len() > 64 && !bytes.starts_with(b"SplitStream") && !bytes.starts_with(b"{") && bytes.len() < 4096
    };
    let object = files.iter().find(is_content).unwrap();
    let whole = fs::read(object).unwrap();
    let mut damaged = whole.clone();
    damaged[0] ^= 1;
    let replace = |bytes: &[u8]| {
        fs::remove_file(object).unwrap();
        fs::write(object, bytes).unwrap();
    };
    replace(&damaged);
    place.expect_refusal("diff_ids");
    replace(&whole);
    let _ = place.pull().ok();
}

#[test]
fn a_layer_that_was_verified_is_not_replaced() {
    let place = Place::new(LAYOUT, "sha256");
    let _ = place.pull().ok();
    let before = place.layers("to");
    let layers = place.layers("from");
    fs::remove_file(&layers[0].0).unwrap();
    std::os::unix::fs::symlink(&layers[1].1, &layers[0].0).unwrap();
    let _ = place.pull().ok();
    assert_eq!(place.layers("to"), before);
    place.ok("to", &["oci", "verify", "a/b:1"]);
}

/// Kinds of the kept blobs of an image.
fn kinds(place: &Place, repository: &str) -> Vec<String> {
    let layers = place.json(repository, &["oci", "inspect", "a/b:1", "--json"])["layers"].clone();
    layers.as_array().unwrap().iter().map(|layer| layer["blob"]["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn sync_copies_what_was_kept_of_the_blobs() {
    for (keep, kind) in [("record", "rebuildable"), ("whole", "whole")] {
        let place = Place::new(LAYOUT, "sha256");
        let layout = format!("oci:{}", place.path(LAYOUT).display());
        let option = format!("--keep-blobs={keep}");
        place.ok("from", &["oci", "pull", &layout, "--name=a/b:1", &option]);
        assert_eq!(kinds(&place, "from"), [kind; 3]);
        let from = place.text("from");
        // The layers are here already; then nothing is.
        for _ in 0..2 {
            place.ok("to", &["sync", &from, "--oci=a/b:1"]);
            assert_eq!(kinds(&place, "to"), [kind; 3]);
            place.ok("to", &["oci", "untag", "a/b:1"]);
            place.ok("to", &["gc", "--grace=0"]);
        }
        // The image is here, but nothing was kept of its blobs.
        place.ok("to", &["oci", "pull", &layout, "--name=a/b:1", "--keep-blobs=no"]);
        assert_eq!(kinds(&place, "to"), ["not-here"; 3]);
        let dry = place.ok("to", &["sync", &from, "--oci=a/b:1", "--dry-run"]);
        assert!(dry.ends_with(" a/b:1: what was kept of its compressed blobs\n"), "{dry}");
        place.ok("to", &["sync", &from, "--oci=a/b:1"]);
        assert_eq!(kinds(&place, "to"), [kind; 3]);
        let again = place.ok("to", &["sync", &from, "--oci=a/b:1"]);
        assert!(again.ends_with(" a/b:1: up to date\n"), "{again}");
        place.ok("to", &["oci", "untag", "a/b:1"]);
        place.ok("to", &["gc", "--grace=0"]);
        // The layer of the first blob gets what was kept of the second one.
        let streams = place.path("from/streams");
        let blobs: Vec<PathBuf> = fs::read_dir(&streams)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("composefs-blob-"))
            .collect();
        fs::remove_file(&blobs[0]).unwrap();
        std::os::unix::fs::symlink(fs::read_link(&blobs[1]).unwrap(), &blobs[0]).unwrap();
        let refused = place.run("to", &["sync", &from, "--oci=a/b:1"]);
        assert!(refused.status == Some(1) && refused.stderr.contains("blob sha256:"), "{refused:?}");
        assert_eq!(place.ok("to", &["oci", "images", "-q"]), "");
    }
}

#[test]
fn sync_without_names_copies_refs_and_oci_images() {
    let place = Place::new(LAYOUT, "sha256");
    let from = place.text("from");
    place.ok("from", &["create", place.path(LAYOUT).to_str().unwrap(), "--name=plain"]);
    let dry = place.ok("to", &["sync", &from, "--dry-run"]);
    assert!(dry.contains(" plain: ") && dry.ends_with(" a/b:1: the image and missing objects\n"), "{dry}");
    place.ok("to", &["sync", &from, "plain"]);
    assert_eq!(place.ok("to", &["oci", "images", "-q"]), "");
    place.ok("to", &["sync", &from]);
    assert_eq!(place.ok("to", &["oci", "images", "-q"]), "a/b:1\n");
    let again = place.ok("to", &["sync", &from]);
    assert_eq!(again.matches(": up to date\n").count(), 2, "{again}");
}

#[test]
fn verify_reads_what_was_kept_of_the_blobs() {
    for keep in ["record", "whole"] {
        let place = Place::new(LAYOUT, "sha256");
        let pull = |place: &Place| {
            let layout = format!("oci:{}", place.path(LAYOUT).display());
            place.ok("from", &["oci", "pull", &layout, "--name=a/b:1", &format!("--keep-blobs={keep}")]);
        };
        pull(&place);
        place.ok("from", &["oci", "verify", "a/b:1"]);
        // The streams of kept blobs have one object each, in their first table.
        let why = |object: &str| place.ok("from", &["why", object]).contains("blob");
        let objects = place.path("from/objects");
        let mut damaged = 0;
        for fan in fs::read_dir(&objects).unwrap().map(|entry| entry.unwrap().path()) {
            for file in fs::read_dir(&fan).unwrap().map(|entry| entry.unwrap().path()) {
                let hex = format!("{}{}", fan.file_name().unwrap().display(), file.file_name().unwrap().display());
                let mut bytes = fs::read(&file).unwrap();
                // Not the streams themselves, which other errors are about.
                if damaged == 0 && why(&hex) && !bytes.starts_with(b"SplitStream") {
                    bytes[12] ^= 1;
                    fs::remove_file(&file).unwrap();
                    fs::write(&file, bytes).unwrap();
                    damaged += 1;
                }
            }
        }
        assert_eq!(damaged, 1);
        let refused = place.run("from", &["oci", "verify", "a/b:1"]);
        assert!(refused.status == Some(1) && refused.stderr.contains("its kept blob sha256:"), "{refused:?}");
        pull(&place);
        place.ok("from", &["oci", "verify", "a/b:1"]);
    }
}
