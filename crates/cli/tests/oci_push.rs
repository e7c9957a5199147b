//! `composefs oci export` and `oci push`: the same manifest where the blobs can be given, refusals that write nothing,
//! and other programs that read what was written.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::{oci, skip};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");
const MERGED: &str = "composefs.merged.erofs.v1.fsverity-sha256-12";

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// Makes two repositories, `one` and `two`.
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        for repo in ["one", "two"] {
            expect_success(&place.run(repo, &["init", "--insecure", "--format=1"]));
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn run(&self, repo: &str, arguments: &[&str]) -> Outcome {
        let repo = self.text(repo);
        let program = Program { path: Path::new(COMPOSEFS), name: "composefs" };
        program.run([&["--repo", &repo], arguments].concat(), b"")
    }

    fn pull(&self, repo: &str, source: &str, name: &str) -> Value {
        json_of(&self.run(repo, &["oci", "pull", source, &format!("--name={name}"), "--json"]))
    }

    fn export(&self, destination: &str, more: &[&str]) -> Outcome {
        self.run("one", &[&["oci", "export", "app", destination, "--json"], more].concat())
    }

    /// Names of all files below the directory, except for those of the repositories.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| !["one", "two"].contains(&name.as_str()));
        names.sort();
        names
    }

    /// Pulls the recorded layout with its gzip blobs, or with uncompressed ones.
    fn with_image(form: Form) -> (Self, Value) {
        let place = Self::new();
        let layout = oci::unpack_layout("three-layers", place.dir.path());
        if form == Form::Plain {
            decompress_layers(&layout);
        }
        let pulled = place.pull("one", &format!("oci:{}", layout.display()), "app");
        fs::remove_dir_all(layout).unwrap();
        (place, pulled)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Gzip,
    Plain,
}

fn expect_success(outcome: &Outcome) {
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
}

#[track_caller]
fn json_of(outcome: &Outcome) -> Value {
    expect_success(outcome);
    serde_json::from_slice(&outcome.stdout).unwrap()
}

#[track_caller]
fn expect_refusal(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word:?} is missing in {}", outcome.stderr);
    }
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn blob_path(layout: &Path, digest: &Value) -> PathBuf {
    layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/"))
}

fn put_blob(layout: &Path, bytes: &[u8]) -> (String, usize) {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(layout.join("blobs/sha256").join(&hex), bytes).unwrap();
    (format!("sha256:{hex}"), bytes.len())
}

/// Changes the manifest of a layout with one image.
fn change_manifest(layout: &Path, change: impl FnOnce(&mut Value)) {
    let mut index = json_file(&layout.join("index.json"));
    let mut manifest = json_file(&blob_path(layout, &index["manifests"][0]["digest"]));
    change(&mut manifest);
    let (digest, size) = put_blob(layout, manifest.to_string().as_bytes());
    (index["manifests"][0]["digest"], index["manifests"][0]["size"]) = (json!(digest), json!(size));
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

fn decompress_layers(layout: &Path) {
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

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Runs another program, which must succeed, and returns its output.
#[track_caller]
fn other(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the digest of the manifest that skopeo finds.
#[track_caller]
fn skopeo_digest(image: &str) -> String {
    let insecure: &[&str] = if image.starts_with("docker://") { &["--tls-verify=false"] } else { &[] };
    let raw = other("skopeo", &[&["--insecure-policy", "inspect", "--raw"], insecure, &[image]].concat());
    Sha256::digest(raw.as_bytes()).iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

#[test]
fn uncompressed_layers_come_back_with_the_same_manifest() {
    let (place, pulled) = Place::with_image(Form::Plain);
    let (layout, archive) = (format!("oci:{}:t", place.text("out")), format!("oci-archive:{}:t", place.text("a.tar")));
    for destination in [&layout, &archive] {
        let exported = json_of(&place.export(destination, &[]));
        assert_eq!((&exported["manifest"], &exported["new_manifest"]), (&pulled["manifest"], &json!([])));
        assert!(exported["layers"].as_array().unwrap().iter().all(|layer| layer["outcome"] == "sent"), "{exported}");
        let again = place.pull("two", destination, "again");
        assert_eq!((&again["manifest"], &again["image"]), (&pulled["manifest"], &pulled["image"]));
    }
    assert_eq!(place.names(), ["a.tar", "out"]);
    if !has("skopeo") || !has("umoci") {
        return skip::announce("uncompressed_layers_come_back_with_the_same_manifest", "skopeo or umoci is missing");
    }
    for destination in [&layout, &archive] {
        assert_eq!(skopeo_digest(destination), pulled["manifest"], "{destination}");
        let copy = format!("dir:{}", place.text("copy"));
        other("skopeo", &["--insecure-policy", "copy", "--quiet", destination, &copy]);
    }
    assert_eq!(other("umoci", &["list", "--layout", &place.text("out")]).trim(), "t");
    other("umoci", &["stat", "--image", &format!("{}:t", place.text("out"))]);
    if let Some(peers) = std::env::var_os("COMPOSEFS_PEERS")
        && let cfsctl = PathBuf::from(peers).join("cfsctl")
        && cfsctl.exists()
    {
        let theirs = |arguments: &[&str]| {
            let repo = place.text("two");
            other(cfsctl.to_str().unwrap(), &[&["--insecure", "--repo", &repo], arguments].concat())
        };
        theirs(&["oci", "pull", &layout, "theirs"]);
        assert!(theirs(&["oci", "compute-id", "theirs"]).trim().ends_with(pulled["image"].as_str().unwrap()));
    }
}

#[test]
fn compressed_layers_are_refused_and_can_be_compressed_anew() {
    let (place, pulled) = Place::with_image(Form::Gzip);
    for (name, destination) in [("out", "oci:"), ("a.tar", "oci-archive:")] {
        let refused = place.export(&format!("{destination}{}", place.text(name)), &[]);
        expect_refusal(&refused, &["3 of 3 layers", "layer 1 (sha256:", "--recompress", "--keep-blobs"]);
    }
    assert_eq!(place.names(), [""; 0]);
    for compression in ["none", "gzip", "gzip:1", "zstd", "zstd:12"] {
        let option = format!("--compression={compression}");
        let export = |name: &str| {
            let destination = format!("oci-archive:{}:t", place.text(name));
            (json_of(&place.export(&destination, &["--recompress", &option])), destination)
        };
        let (exported, source) = export("a.tar");
        assert_eq!((&exported["config"], &exported["original_manifest"]), (&pulled["config"], &pulled["manifest"]));
        assert_ne!(exported["manifest"], pulled["manifest"]);
        let again = place.pull("two", &source, "again");
        assert_eq!((&again["image"], &again["manifest"]), (&pulled["image"], &exported["manifest"]), "{compression}");
        // Each run writes the same bytes.
        let (second, _) = export("b.tar");
        assert_eq!(second["manifest"], exported["manifest"], "{compression}");
        if has("skopeo") {
            assert_eq!(skopeo_digest(&source), exported["manifest"]);
            let copy = format!("oci:{}:c", place.text("copy"));
            other("skopeo", &["--insecure-policy", "copy", "--quiet", &source, &copy]);
            fs::remove_dir_all(place.path("copy")).unwrap();
        }
        fs::remove_file(place.path("a.tar")).unwrap();
        fs::remove_file(place.path("b.tar")).unwrap();
    }
    // A usage error: the level is too high.
    assert_eq!(place.export("oci:x", &["--recompress", "--compression=zstd:20"]).status, Some(2));
    assert_eq!(place.export("oci:x", &["--compression=zstd"]).status, Some(2));
}

#[test]
fn a_docker_archive_takes_every_image() {
    let (place, pulled) = Place::with_image(Form::Gzip);
    let destination = format!("docker-archive:{}:example.org/app:1", place.text("app.tar"));
    for option in ["--recompress", "--annotate"] {
        expect_refusal(&place.export(&destination, &[option]), &["no manifest"]);
    }
    let exported = json_of(&place.export(&destination, &[]));
    assert_eq!((&exported["manifest"], &exported["config"]), (&Value::Null, &pulled["config"]));
    let again = place.pull("two", &destination, "again");
    assert_eq!((&again["image"], &again["config"]), (&pulled["image"], &pulled["config"]));
    // The manifest made of the archive has uncompressed layers, and is one of docker: a layout has OCI manifests.
    let layout = format!("oci:{}:t", place.text("out"));
    let converted = json_of(&place.run("two", &["oci", "export", "again", &layout, "--json"]));
    assert_eq!(converted["new_manifest"].as_array().unwrap().len(), 1, "{converted}");
    assert_eq!(place.pull("two", &layout, "third")["image"], pulled["image"]);
    if !has("skopeo") || !has("podman") {
        return skip::announce("a_docker_archive_takes_every_image", "skopeo or podman is missing");
    }
    assert_eq!(skopeo_digest(&layout), converted["manifest"]);
    let config = other("skopeo", &["inspect", "--config", "--raw", &destination]);
    let hex: String = Sha256::digest(config.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(pulled["config"], format!("sha256:{hex}"));
    if rustix::process::geteuid().is_root() {
        let (root, run) = (place.text("podman"), place.text("podman-run"));
        let podman = ["--root", &root, "--runroot", &run, "--storage-driver=vfs"];
        let loaded = other("podman", &[&podman[..], &["load", "-q", "-i", &place.text("app.tar")]].concat());
        assert!(loaded.contains("example.org/app:1"), "{loaded}");
        let id =
            other("podman", &[&podman[..], &["image", "inspect", "--format={{.Id}}", "example.org/app:1"]].concat());
        assert_eq!(id.trim(), hex);
    }
}

#[test]
fn existing_files_are_kept() {
    let (place, pulled) = Place::with_image(Form::Plain);
    fs::write(place.path("a.tar"), "precious").unwrap();
    for transport in ["oci-archive", "docker-archive"] {
        let destination = format!("{transport}:{}", place.text("a.tar"));
        expect_refusal(&place.export(&destination, &[]), &["--force"]);
        assert_eq!(fs::read(place.path("a.tar")).unwrap(), b"precious");
    }
    expect_success(&place.export(&format!("oci-archive:{}", place.text("a.tar")), &["--force"]));
    assert!(fs::metadata(place.path("a.tar")).unwrap().len() > 1000);
    fs::create_dir(place.path("foreign")).unwrap();
    fs::write(place.path("foreign/file"), "precious").unwrap();
    expect_refusal(&place.export(&format!("oci:{}", place.text("foreign")), &[]), &["no oci-layout"]);
    assert_eq!(fs::read_dir(place.path("foreign")).unwrap().count(), 1);
    std::os::unix::fs::symlink(place.path("nowhere"), place.path("link.tar")).unwrap();
    let through = format!("oci-archive:{}", place.text("link.tar"));
    expect_refusal(&place.export(&through, &["--force"]), &["regular file"]);

    // A layout gets more images, and its other entries stay as they are.
    let destination = |name: &str| format!("oci:{}:{name}", place.text("out"));
    fs::create_dir(place.path("out")).unwrap();
    expect_success(&place.export(&destination("first"), &[]));
    let index = place.path("out/index.json");
    let mut changed = json_file(&index);
    changed["manifests"][0]["annotations"]["example"] = json!("kept");
    fs::write(&index, changed.to_string()).unwrap();
    let second = json_of(&place.export(&destination("second"), &["--annotate"]));
    // The layers are in the layout already.
    assert!(second["layers"].as_array().unwrap().iter().all(|layer| layer["outcome"] == "present"), "{second}");
    let entries = json_file(&index)["manifests"].as_array().unwrap().clone();
    assert_eq!((entries.len(), &entries[0]["annotations"]["example"]), (2, &json!("kept")));
    // The same name is replaced.
    expect_success(&place.export(&destination("second"), &[]));
    let entries = json_file(&index)["manifests"].as_array().unwrap().clone();
    assert_eq!((entries.len(), &entries[1]["digest"]), (2, &pulled["manifest"]));
    // A damaged blob of the layout is written anew.
    let blob = blob_path(&place.path("out"), &pulled["layers"][0]["digest"]);
    let mut bytes = fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    expect_success(&place.export(&destination("first"), &[]));
    assert_eq!(place.pull("two", &destination("first"), "again")["manifest"], pulled["manifest"]);
    let mut names: Vec<_> = fs::read_dir(place.path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn a_failed_export_leaves_nothing() {
    let (place, pulled) = Place::with_image(Form::Plain);
    // The stream of one layer under the name of another, as a damaged repository has it.
    let name = |number: usize| {
        let diff_id = pulled["layers"][number]["diff_id"].as_str().unwrap();
        place.path("one/streams").join(format!("oci-layer-{diff_id}"))
    };
    let (target, own) = (fs::read_link(name(2)).unwrap(), fs::read_link(name(0)).unwrap());
    let relink = |target: &Path| {
        fs::remove_file(name(0)).unwrap();
        std::os::unix::fs::symlink(target, name(0)).unwrap();
    };
    relink(&target);
    let destinations = ["oci:", "oci-archive:", "docker-archive:"].map(|kind| format!("{kind}{}", place.text("out")));
    for destination in &destinations {
        expect_refusal(&place.export(destination, &[]), &["the repository is damaged"]);
        assert_eq!(place.names(), [""; 0], "{destination}");
    }
    let refused = place.export(&destinations[0], &["--recompress"]);
    expect_refusal(&refused, &["layer 1 of 3", "has the digest"]);
    assert_eq!(place.names(), [""; 0]);
    relink(&own);
    expect_success(&place.export(&destinations[0], &[]));
}

#[test]
fn an_interrupted_export_leaves_nothing() {
    let place = Place::new();
    let layout = oci::unpack_layout("three-layers", place.dir.path());
    // A layer that takes long: bytes that cannot be compressed.
    let index = json_file(&layout.join("index.json"));
    let manifest = json_file(&blob_path(&layout, &index["manifests"][0]["digest"]));
    let mut config = json_file(&blob_path(&layout, &manifest["config"]["digest"]));
    let archive = large_archive(&place.path("large"));
    let (digest, size) = put_blob(&layout, &archive);
    config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(json!(digest));
    let (config_digest, config_size) = put_blob(&layout, config.to_string().as_bytes());
    change_manifest(&layout, |manifest| {
        (manifest["config"]["digest"], manifest["config"]["size"]) = (json!(config_digest), json!(config_size));
        let layer = json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size });
        manifest["layers"].as_array_mut().unwrap().push(layer);
    });
    place.pull("one", &format!("oci:{}", layout.display()), "app");
    fs::remove_dir_all(layout).unwrap();
    let arguments = ["oci", "export", "app", &format!("oci:{}", place.text("out")), "--recompress"];
    let mut child = Command::new(COMPOSEFS)
        .args(["--repo", &place.text("one")])
        .args(arguments)
        .arg("--compression=zstd:19")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while place.names().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "the export does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    other("kill", &["-INT", &child.id().to_string()]);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(place.names(), [""; 0]);
}

/// A tar archive with one file of 48 MiB that cannot be compressed.
fn large_archive(directory: &Path) -> Vec<u8> {
    fs::create_dir(directory).unwrap();
    let mut state = 1u64;
    let bytes: Vec<u8> = (0..6 << 20)
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.rotate_left(20).to_le_bytes()
        })
        .collect();
    fs::write(directory.join("large"), bytes).unwrap();
    let output = Command::new("tar").arg("-C").arg(directory).args(["-cf", "-", "large"]).output().unwrap();
    assert!(output.status.success());
    fs::remove_dir_all(directory).unwrap();
    output.stdout
}

#[test]
fn annotations_are_written_and_compared() {
    let (place, pulled) = Place::with_image(Form::Plain);
    let layout = place.path("out");
    let source = format!("oci:{}:t", layout.display());
    let exported = json_of(&place.export(&source, &["--annotate"]));
    assert_eq!(exported["annotation"], json!({ "key": MERGED, "value": pulled["image"] }));
    assert_ne!(exported["manifest"], pulled["manifest"]);
    assert_eq!(
        (exported["config"].as_str(), exported["new_manifest"].as_array().unwrap().len()),
        (pulled["config"].as_str(), 1)
    );
    let annotated = place.pull("two", &source, "annotated");
    assert_eq!((&annotated["image"], &annotated["warnings"]), (&pulled["image"], &json!([])));
    // Once more it is the same manifest.
    let again = json_of(&place.run("two", &["oci", "export", "annotated", &source, "--annotate", "--json"]));
    assert_eq!((&again["manifest"], &again["new_manifest"]), (&exported["manifest"], &json!([])));
    // What cannot be computed is said.
    let other = "composefs.merged.erofs.v1.fsverity-sha512-12";
    change_manifest(&layout, |manifest| manifest["annotations"][other] = json!("00"));
    let unchecked = place.pull("two", &source, "unchecked");
    let warnings = unchecked["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{unchecked}");
    assert!(warnings[0].as_str().unwrap().contains(&format!("{other} of the manifest was not checked")));
    // Another digest is refused.
    let wrong = "0".repeat(64);
    change_manifest(&layout, |manifest| manifest["annotations"][MERGED] = json!(wrong));
    let refused = place.run("two", &["oci", "pull", &source, "--name=wrong"]);
    expect_refusal(&refused, &[MERGED, &wrong, pulled["image"].as_str().unwrap()]);
    let names = String::from_utf8(place.run("two", &["oci", "images", "-q"]).ok().stdout).unwrap();
    assert_eq!(names, "annotated\nunchecked\n");
}

/// A registry on a free port of the loopback interface, with its storage in a directory.
struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    fn start(directory: &Path) -> Option<Self> {
        if !has("docker-registry") {
            return None;
        }
        fs::create_dir_all(directory).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (address, storage) = (format!("127.0.0.1:{port}"), directory.join("storage"));
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            storage.display()
        );
        let config = directory.join("registry.yml");
        fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self { process: command.spawn().unwrap(), address };
        let mut tries = 0;
        while TcpStream::connect(&registry.address).is_err() {
            tries += 1;
            assert!(tries < 600, "the registry does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

fn outcomes(pushed: &Value) -> Vec<&str> {
    pushed["layers"].as_array().unwrap().iter().map(|layer| layer["outcome"].as_str().unwrap()).collect()
}

#[test]
fn a_registry_gets_the_same_manifest() {
    let test = "a_registry_gets_the_same_manifest";
    let (place, pulled) = Place::with_image(Form::Plain);
    let Some(registry) = Registry::start(&place.path("registry")) else {
        return skip::announce(test, "docker-registry is not installed");
    };
    let name = |path: &str| format!("docker://{}/{path}", registry.address);
    let push = |image: &str, path: &str, more: &[&str]| {
        place.run("one", &[&["oci", "push", image, &name(path), "--json"], more].concat())
    };
    let pushed = json_of(&push("app", "team/app:1", &[]));
    assert_eq!(pushed["manifest"], pulled["manifest"]);
    assert_eq!(outcomes(&pushed), ["sent"; 3]);
    let again = place.pull("two", &name("team/app:1"), "again");
    assert_eq!((&again["manifest"], &again["image"]), (&pulled["manifest"], &pulled["image"]));
    // Another tag, and another repository.
    assert_eq!(outcomes(&json_of(&push("app", "team/app:2", &[]))), ["present"; 3]);
    let from = name("team/app");
    assert_eq!(outcomes(&json_of(&push("app", "prod/app:1", &[&format!("--from={from}")]))), ["mounted"; 3]);
    // The name by which an image was pulled is a hint too.
    let origin = format!("{}/team/app:2", registry.address);
    place.pull("one", &format!("docker://{origin}"), &origin);
    assert_eq!(outcomes(&json_of(&push(&origin, "other/app:1", &[]))), ["mounted"; 3]);
    expect_refusal(&push("app", "x/app:1", &["--from=docker://example.org/x"]), &["another registry"]);
    expect_refusal(&place.run("one", &["oci", "push", "app", "oci:x"]), &["oci export"]);
    if !has("skopeo") || !has("podman") {
        return skip::announce(test, "skopeo or podman is not installed");
    }
    assert_eq!(skopeo_digest(&name("prod/app:1")), pulled["manifest"]);
    if rustix::process::geteuid().is_root() {
        let (root, run) = (place.text("podman"), place.text("podman-run"));
        let podman = ["--root", &root, "--runroot", &run, "--storage-driver=vfs"];
        let id = other("podman", &[&podman[..], &["pull", "-q", "--tls-verify=false", &name("prod/app:1")]].concat());
        assert_eq!(format!("sha256:{}", id.trim()), pulled["config"]);
    }
}

#[test]
fn a_push_of_other_blobs_is_refused_before_anything_is_sent() {
    let test = "a_push_of_other_blobs_is_refused_before_anything_is_sent";
    let (place, pulled) = Place::with_image(Form::Gzip);
    let Some(registry) = Registry::start(&place.path("registry")) else {
        return skip::announce(test, "docker-registry is not installed");
    };
    let name = format!("docker://{}/app:1", registry.address);
    let push = |more: &[&str]| place.run("one", &[&["oci", "push", "app", &name, "--json"], more].concat());
    expect_refusal(&push(&[]), &["3 of 3 layers", "layer 3 (sha256:", "nothing was sent", "--recompress"]);
    assert!(!place.path("registry/storage").exists(), "something was stored");
    let pushed = json_of(&push(&["--recompress", "--compression=zstd:5"]));
    assert_eq!((&pushed["config"], &pushed["original_manifest"]), (&pulled["config"], &pulled["manifest"]));
    let again = place.pull("two", &name, "again");
    assert_eq!((&again["manifest"], &again["image"]), (&pushed["manifest"], &pulled["image"]));
    // The same blobs once more.
    assert_eq!(outcomes(&json_of(&push(&["--recompress", "--compression=zstd:5"]))), ["present"; 3]);
    // The blobs of the other image cannot be made here, but the registry has them: it is tagged exactly.
    let repushed = place.run("two", &["oci", "push", "again", &name.replace("app:1", "app:2"), "--json"]);
    let repushed = json_of(&repushed);
    assert_eq!((&repushed["manifest"], outcomes(&repushed)), (&pushed["manifest"], vec!["present"; 3]));
}

/// Passes connections on to a registry, and answers requests that `refuses` names with 403.
fn refusing_proxy(registry: &str, refuses: fn(&str) -> bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, registry) = (listener.local_addr().unwrap().to_string(), Arc::new(registry.to_owned()));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let registry = Arc::clone(&registry);
            std::thread::spawn(move || pass_on(client, &registry, refuses));
        }
    });
    address
}

fn pass_on(mut client: TcpStream, registry: &str, refuses: fn(&str) -> bool) -> Option<()> {
    let mut server = TcpStream::connect(registry).ok()?;
    let (mut from_server, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = client.read(&mut buffer).ok().filter(|len| *len > 0)?;
        let head = String::from_utf8_lossy(&buffer[..len.min(300)]).into_owned();
        if refuses(head.lines().next().unwrap_or_default()) {
            let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = client.write_all(answer.as_bytes());
            let _ = server.shutdown(Shutdown::Both);
            return None;
        }
        server.write_all(&buffer[..len]).ok()?;
    }
}

#[test]
fn a_registry_that_refuses_in_the_middle_has_no_tag() {
    let test = "a_registry_that_refuses_in_the_middle_has_no_tag";
    let (place, pulled) = Place::with_image(Form::Plain);
    let Some(registry) = Registry::start(&place.path("registry")) else {
        return skip::announce(test, "docker-registry is not installed");
    };
    let push =
        |address: &str| place.run("one", &["oci", "push", "app", &format!("docker://{address}/app:1"), "--json"]);
    let refusals: [fn(&str) -> bool; 2] = [
        |line| line.starts_with("PUT ") && line.contains("/manifests/"),
        |line| line.starts_with("PUT ") && line.contains("/blobs/"),
    ];
    for refuses in refusals {
        let proxy = refusing_proxy(&registry.address, refuses);
        expect_refusal(&push(&proxy), &["403"]);
        let manifest = format!("docker://{}/app:1", registry.address);
        let refused = place.run("two", &["oci", "pull", &manifest, "--name=x"]);
        expect_refusal(&refused, &["404"]);
    }
    assert_eq!(json_of(&push(&refusing_proxy(&registry.address, |_| false)))["manifest"], pulled["manifest"]);
    let again = place.pull("two", &format!("docker://{}/app:1", registry.address), "again");
    assert_eq!(again["manifest"], pulled["manifest"]);
}
