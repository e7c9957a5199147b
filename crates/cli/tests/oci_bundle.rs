//! OCI images in bundles: the same image comes out, and a hostile bundle gives nothing a name.

use std::fs;
use std::path::{Path, PathBuf};

use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::{oci, skip};
use serde_json::Value;

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");
const NAME: &str = "docker.io/library/three:1";

struct Place(tempfile::TempDir);

impl Place {
    /// A repository `from` that has an image, and an empty one `to`.
    fn new(options: &[&str]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for repository in ["from", "to"] {
            place.ok(repository, &["init", "--insecure", "--format=1"]);
        }
        let source = format!("oci:{}", oci::unpack_layout("three-layers", place.0.path()).display());
        place.ok("from", &[&["oci", "pull", &source, "--name", NAME], options].concat());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, repository: &str, arguments: &[&str], input: &[u8]) -> Outcome {
        let program = Program { path: Path::new(COMPOSEFS), name: "composefs" };
        let repository = self.path(repository);
        program.run([&["--repo", repository.to_str().unwrap()][..], arguments].concat(), input)
    }

    fn ok(&self, repository: &str, arguments: &[&str]) -> String {
        String::from_utf8(self.run(repository, arguments, b"").ok().stdout).unwrap()
    }

    fn inspect(&self, repository: &str, name: &str) -> Value {
        serde_json::from_str(&self.ok(repository, &["oci", "inspect", name, "--json"])).unwrap()
    }

    fn bundle(&self, arguments: &[&str]) -> Vec<u8> {
        self.run("from", &[&["export"], arguments].concat(), b"").ok().stdout
    }

    /// Expects that a bundle is refused with these words, and that nothing of it has a name.
    fn expect_refusal(&self, bundle: &[u8], words: &str) {
        let refused = self.run("to", &["import", "-", "--refs"], bundle);
        assert!(refused.status == Some(1) && refused.stderr.contains(words), "{words}: {refused:?}");
        assert_eq!(self.ok("to", &["images", "-q"]), "");
        let streams = self.path("to/streams");
        let links = fs::read_dir(&streams).map(|entries| entries.count()).unwrap_or_default();
        assert_eq!(links, 0, "{refused:?}");
    }
}

/// Replaces the only place of some text by one of the same length.
fn replaced(bundle: &[u8], old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let places: Vec<usize> =
        bundle.windows(old.len()).enumerate().filter(|(_, part)| *part == old.as_bytes()).map(|(at, _)| at).collect();
    assert_eq!(places.len(), 1, "{old}");
    let mut other = bundle.to_vec();
    other[places[0]..places[0] + old.len()].copy_from_slice(new.as_bytes());
    other
}

/// The description of the image in a bundle.
fn description(bundle: &[u8]) -> Value {
    let start = bundle.windows(12).rposition(|part| part == b"{\"manifest\":").unwrap();
    serde_json::Deserializer::from_slice(&bundle[start..]).into_iter().next().unwrap().unwrap()
}

#[test]
fn an_image_comes_out_as_it_was() {
    for (options, expected) in [(&["--keep-blobs=record", "--per-layer"][..], "rebuildable"), (&[], "whole")] {
        let place = Place::new(options);
        let bundle = place.bundle(&[NAME]);
        let imported = place.run("to", &["import", "-", "--refs", "--json"], &bundle).ok();
        let imported: Value = serde_json::from_slice(&imported.stdout).unwrap();
        assert_eq!(imported["oci"][0]["names"][0], NAME, "{imported}");
        let (there, here) = (place.inspect("from", NAME), place.inspect("to", NAME));
        assert_eq!(there, here);
        assert_eq!(here["layers"][0]["blob"]["kind"], expected);
        assert_eq!(here["layers"][0]["image"].is_string(), !options.is_empty());
        assert_eq!(imported["oci"][0]["image"], here["images"][0]["digest"]);
        place.ok("to", &["oci", "verify", NAME]);
        place.ok("to", &["gc", "--grace=0"]);
        place.ok("to", &["fsck"]);
        // Under another name, and once more.
        let again = place.run("to", &["import", "-", "--name=other"], &bundle).ok();
        assert_eq!(again.line(), here["manifest"], "{again:?}");
        assert_eq!(place.inspect("to", "other")["layers"], here["layers"]);
        let layout = place.path("layout");
        place.ok("to", &["oci", "export", "other", &format!("oci:{}:x", layout.display())]);
    }
}

#[test]
fn what_the_receiver_has_is_left_out() {
    let place = Place::new(&[]);
    let whole = place.bundle(&[NAME]);
    place.run("to", &["import", "-", "--refs"], &whole).ok().stdout.clear();
    let small = place.path("small");
    let json = place.ok("from", &["export", NAME, "--have", NAME, "--json", "-o", small.to_str().unwrap()]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["oci"], &json["objects"]), (&1.into(), &0.into()), "{json}");
    let small = fs::read(small).unwrap();
    assert!(small.len() < 2000, "{}", small.len());
    place.run("to", &["import", "-", "--name=again"], &small).ok().stdout.clear();
    assert_eq!(place.inspect("to", "again")["layers"], place.inspect("from", NAME)["layers"]);
    // Another receiver lacks them.
    place.ok("empty", &["init", "--insecure", "--format=1"]);
    let refused = place.run("empty", &["import", "-", "--refs"], &small);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert_eq!(place.ok("empty", &["images", "-q"]), "");
}

#[test]
fn a_hostile_bundle_gives_nothing_a_name() {
    let place = Place::new(&["--keep-blobs=whole"]);
    place.ok("from", &["create", oci::unpack_layout("three-layers", place.0.path()).to_str().unwrap(), "--name=plain"]);
    // The plain image comes first, and must not stay either.
    let bundle = place.bundle(&["plain", NAME]);
    let image = description(&bundle);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let layers: Vec<(String, String)> =
        image["layers"].as_object().unwrap().iter().map(|(diff_id, stream)| (diff_id.clone(), text(stream))).collect();
    let blobs: Vec<String> = image["blobs"].as_object().unwrap().values().map(text).collect();
    let of_layer = |diff_id: &str, stream: &str| format!("\"{diff_id}\":\"{stream}\"");
    let (first, second) = (&layers[0], &layers[1]);
    // The archive of another layer.
    let wrong = replaced(&bundle, &of_layer(&first.0, &first.1), &of_layer(&first.0, &second.1));
    place.expect_refusal(&wrong, "(diff_ids)");
    // A stream that is not there, and a layer that is not named.
    place.expect_refusal(
        &replaced(&bundle, &of_layer(&first.0, &first.1), &of_layer(&first.0, &"0".repeat(64))),
        "0000",
    );
    let unnamed = format!("sha256:{}", "1".repeat(64));
    let wrong = replaced(&bundle, &of_layer(&first.0, &first.1), &of_layer(&unnamed, &first.1));
    place.expect_refusal(&wrong, "the bundle has no layer");
    // Another configuration than the manifest names.
    let manifest = text(&image["manifest"]);
    let wrong =
        replaced(&bundle, &format!("\"config\":\"{}\"", text(&image["config"])), &format!("\"config\":\"{manifest}\""));
    place.expect_refusal(&wrong, "the bundle has no blob");
    // A kept blob of another layer.
    let (one, other) = (format!("\"{}\"", blobs[0]), format!("\"{}\"", blobs[1]));
    place.expect_refusal(&replaced(&bundle, &one, &other), "blob");
    place.expect_refusal(&replaced(&bundle, "\"per_layer\"", "\"per_laser\""), "describes an OCI image wrongly");
    // A cut one, and one with a changed content.
    place.expect_refusal(&bundle[..bundle.len() - 20], "it ends");
    let at = bundle.windows(11).position(|part| part == b"SplitStream").unwrap();
    let mut wrong = bundle.clone();
    wrong[at + 200] ^= 1;
    place.expect_refusal(&wrong, "digest");
    // The twin.
    place.run("to", &["import", "-", "--refs"], &bundle).ok().stdout.clear();
    assert_eq!(place.ok("to", &["images", "-q"]).lines().count(), 2);
    place.ok("to", &["oci", "verify", NAME]);
}

#[test]
fn cfsctl_reads_what_was_imported() {
    let peers = std::env::var_os("COMPOSEFS_PEERS").map(|peers| PathBuf::from(peers).join("cfsctl"));
    let Some(cfsctl) = peers.filter(|cfsctl| cfsctl.exists()) else {
        let reason = "cfsctl 0.9.4 is not there: COMPOSEFS_PEERS=$(cargo xtask peers --rust)";
        return skip::announce("cfsctl_reads_what_was_imported", reason);
    };
    let place = Place::new(&["--per-layer"]);
    place.run("to", &["import", "-", "--refs"], &place.bundle(&[NAME])).ok().stdout.clear();
    let repository = place.path("to");
    let before = ["--insecure", "--repo", repository.to_str().unwrap()];
    let theirs =
        |arguments: &[&str]| Program { path: &cfsctl, name: "cfsctl" }.run([&before[..], arguments].concat(), b"").ok();
    let checked = theirs(&["oci", "fsck"]);
    assert!(String::from_utf8_lossy(&checked.stdout).contains("status: ok"), "{checked:?}");
    let id = theirs(&["oci", "compute-id", NAME]);
    let image = place.inspect("to", NAME)["images"][0]["digest"].as_str().unwrap().to_owned();
    assert!(id.line().ends_with(&image), "{id:?}");
}
