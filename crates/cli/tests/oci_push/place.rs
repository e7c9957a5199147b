//! Two repositories with an image, layouts that tests change, and other programs.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libcomposefs_testkit::oci;
use libcomposefs_testkit::program::{Outcome, Program};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");
pub(crate) const MERGED: &str = "composefs.merged.erofs.v1.fsverity-sha256-12";

pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    /// Makes two repositories, `one` and `two`.
    pub(crate) fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        for repo in ["one", "two"] {
            expect_success(&place.run(repo, &["init", "--insecure", "--format=1"]));
        }
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn run(&self, repo: &str, arguments: &[&str]) -> Outcome {
        let repo = self.text(repo);
        let program = Program { path: Path::new(COMPOSEFS), name: "composefs" };
        program.run([&["--repo", &repo], arguments].concat(), b"")
    }

    pub(crate) fn pull(&self, repo: &str, source: &str, name: &str) -> Value {
        self.pull_keeping("record", repo, source, name)
    }

    /// Pulls an image; `keep` says what is kept of compressed layers.
    fn pull_keeping(&self, keep: &str, repo: &str, source: &str, name: &str) -> Value {
        let options = [&format!("--name={name}"), &format!("--keep-blobs={keep}"), "--json"];
        json_of(&self.run(repo, &[&["oci", "pull", source], &options[..]].concat()))
    }

    pub(crate) fn export(&self, destination: &str, more: &[&str]) -> Outcome {
        self.run("one", &[&["oci", "export", "app", destination, "--json"], more].concat())
    }

    /// Names of all files below the directory, except for those of the repositories.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| !["one", "two"].contains(&name.as_str()));
        names.sort();
        names
    }

    /// Pulls the recorded layout with its gzip blobs, or with uncompressed ones.
    pub(crate) fn with_image(form: Form) -> (Self, Value) {
        let place = Self::new();
        let layout = oci::unpack_layout("three-layers", place.dir.path());
        if form == Form::Plain {
            decompress_layers(&layout);
        }
        let keep = if form == Form::Kept { "record" } else { "no" };
        let pulled = place.pull_keeping(keep, "one", &format!("oci:{}", layout.display()), "app");
        fs::remove_dir_all(layout).unwrap();
        (place, pulled)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Compressed layers, of which nothing is kept.
    Gzip,
    /// Compressed layers that the repository can give back.
    Kept,
    /// Layers that are archives.
    Plain,
}

pub(crate) fn expect_success(outcome: &Outcome) {
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
}

#[track_caller]
pub(crate) fn json_of(outcome: &Outcome) -> Value {
    expect_success(outcome);
    serde_json::from_slice(&outcome.stdout).unwrap()
}

#[track_caller]
pub(crate) fn expect_refusal(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word:?} is missing in {}", outcome.stderr);
    }
}

pub(crate) fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

pub(crate) fn blob_path(layout: &Path, digest: &Value) -> PathBuf {
    layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/"))
}

pub(crate) fn put_blob(layout: &Path, bytes: &[u8]) -> (String, usize) {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(layout.join("blobs/sha256").join(&hex), bytes).unwrap();
    (format!("sha256:{hex}"), bytes.len())
}

/// Changes the manifest of a layout with one image.
pub(crate) fn change_manifest(layout: &Path, change: impl FnOnce(&mut Value)) {
    let mut index = json_file(&layout.join("index.json"));
    let mut manifest = json_file(&blob_path(layout, &index["manifests"][0]["digest"]));
    change(&mut manifest);
    let (digest, size) = put_blob(layout, manifest.to_string().as_bytes());
    (index["manifests"][0]["digest"], index["manifests"][0]["size"]) = (json!(digest), json!(size));
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

pub(crate) fn decompress_layers(layout: &Path) {
    change_manifest(layout, |manifest| {
        for layer in manifest["layers"].as_array_mut().unwrap() {
            let blob = fs::read(blob_path(layout, &layer["digest"])).unwrap();
            let mut archive = Vec::new();
            flate2::read::MultiGzDecoder::new(&blob[..]).read_to_end(&mut archive).unwrap();
            let (digest, size) = put_blob(layout, &archive);
            *layer = json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size });
        }
    });
}

pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Runs another program, which must succeed, and returns its output.
#[track_caller]
pub(crate) fn other(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the digest of the manifest that skopeo finds.
#[track_caller]
pub(crate) fn skopeo_digest(image: &str) -> String {
    let insecure: &[&str] = if image.starts_with("docker://") { &["--tls-verify=false"] } else { &[] };
    let raw = other("skopeo", &[&["--insecure-policy", "inspect", "--raw"], insecure, &[image]].concat());
    Sha256::digest(raw.as_bytes()).iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
