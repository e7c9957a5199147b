//! `sync --oci` copies an OCI image with its streams; without the option streams stay where they are.

use std::fs;
use std::path::Path;

use libcomposefs_testkit::program::{Outcome, Program};

use crate::place::{COMPOSEFS, CONFIG, IMAGE, LAYER, MANIFEST, Place};

const TAG_NAME: &str = "example/three:1";

/// An empty repository beside a recorded one.
struct Receiver(tempfile::TempDir);

impl Receiver {
    fn new() -> Self {
        let receiver = Self(tempfile::tempdir().unwrap());
        let _ = receiver.run(&["init", "--insecure", "--format=1"]).ok();
        receiver
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let program = Program { path: Path::new(COMPOSEFS), name: "composefs" };
        let repo = self.0.path().join("repo");
        program.run([&["--repo", repo.to_str().unwrap()], arguments].concat(), b"")
    }

    fn has(&self, below: &str) -> bool {
        self.0.path().join("repo").join(below).exists()
    }

    /// Returns whether anything has a name.
    fn is_empty(&self) -> bool {
        ["images", "streams"].iter().all(|below| {
            let entries = fs::read_dir(self.0.path().join("repo").join(below)).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name()).all(|name| name == "refs")
        })
    }
}

#[test]
fn an_oci_image_is_copied_with_all_it_needs() {
    let place = Place::new();
    let other = place.repo().to_str().unwrap().to_owned();
    let receiver = Receiver::new();
    // Without being asked for, streams are left out.
    let _ = receiver.run(&["sync", &other]).ok();
    assert!(receiver.is_empty());
    let dry = receiver.run(&["sync", &other, "--oci", TAG_NAME, "--dry-run"]).ok();
    assert_eq!(dry.line(), format!("{MANIFEST} {TAG_NAME}: the OCI image and missing objects"));
    assert!(receiver.is_empty());
    let synced = receiver.run(&["sync", &other, "--oci", TAG_NAME]).ok();
    assert!(synced.line().starts_with(&format!("{MANIFEST} {TAG_NAME}: 10 objects copied, ")), "{}", synced.line());
    for name in [MANIFEST, CONFIG, LAYER] {
        assert!(receiver.has(&format!("streams/{name}")), "{name}");
    }
    assert!(receiver.has(&format!("images/{IMAGE}")));
    let _ = receiver.run(&["gc", "--grace=0"]).ok();
    assert!(receiver.run(&["fsck"]).ok().line().ends_with("no problems found"));
    let _ = receiver.run(&["oci", "verify", TAG_NAME]).ok();
    let again = receiver.run(&["sync", &other, "--oci", TAG_NAME]).ok();
    assert_eq!(again.line(), format!("{MANIFEST} {TAG_NAME}: up to date"));
    let unknown = receiver.run(&["sync", &other, "--oci", "unknown"]);
    assert!(
        unknown.status == Some(1) && unknown.stderr.contains("no OCI image is called unknown"),
        "{}",
        unknown.stderr
    );
}

/// A stream with a right object and the name of another content, a damaged object, a missing one.
#[test]
fn what_is_wrong_there_has_no_name_here() {
    for what in ["another content", "damaged", "missing", "nothing"] {
        let place = Place::new();
        match what {
            "another content" => {
                let other = fs::read_dir(place.path("streams")).unwrap().map(|entry| entry.unwrap().path());
                let mut layers =
                    other.filter(|path| path.to_str().unwrap().contains("layer") && !path.ends_with(LAYER));
                let text = fs::read_link(layers.next().unwrap()).unwrap();
                fs::remove_file(place.path("streams").join(LAYER)).unwrap();
                place.link(text.to_str().unwrap(), &format!("streams/{LAYER}"));
            }
            "damaged" => {
                let object = place.object_of(LAYER);
                let mut bytes = fs::read(&object).unwrap();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                fs::write(&object, bytes).unwrap();
            }
            "missing" => fs::remove_file(place.object_of(CONFIG)).unwrap(),
            _ => {}
        }
        let receiver = Receiver::new();
        let synced = receiver.run(&["sync", place.repo().to_str().unwrap(), "--oci", TAG_NAME]);
        if what == "nothing" {
            let _ = synced.ok();
            continue;
        }
        assert_eq!(synced.status, Some(1), "{what}: {}", synced.line());
        assert!(synced.stderr.contains("oci-"), "{what}: {}", synced.stderr);
        assert!(receiver.is_empty(), "{what}");
    }
}
