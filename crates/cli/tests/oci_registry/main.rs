//! `composefs oci pull` from Debian's docker-registry: layers in the format zstd:chunked are fetched in parts.
#![cfg(feature = "network")]

mod beside;
#[allow(dead_code)]
#[path = "../../../remote/tests/registry/fake.rs"]
mod fake;
mod hostile;
mod https_proxy;
mod layout_server;
mod local_policy;
mod pulls;
#[allow(dead_code)]
#[path = "../../../remote/tests/registry/real.rs"]
mod real;
mod resume;
mod signed;
#[allow(dead_code)]
#[path = "../../../oci/tests/chunked/writer.rs"]
mod writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_oci::BlobDigest;
use libcomposefs_testkit::numbers::noise;
use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::registry_proxy::{ProxyTreatment, RegistryProxy};
use libcomposefs_testkit::skip;
use real::{Registry, Setup, has_programs};
use serde_json::{Value, json};
use writer::{WrittenFile, WrittenLayer};

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

/// Says of a file, by its number and the number of files, whether a new version changes it.
type ChangedFile = fn(usize, usize) -> bool;

/// A hundredth of the files, anywhere.
fn scattered(file: usize, files: usize) -> bool {
    (file * 7919 + 13) % files < files / 100
}

/// A hundredth of the files, in five places.
fn in_five_places(file: usize, files: usize) -> bool {
    file % (files / 5) < files / 500
}

/// The files of a version: a hundredth differs between two of them.
fn version(number: usize, files: usize, is_changed: ChangedFile) -> Vec<WrittenFile> {
    let file = |file: usize| {
        let seed = if is_changed(file, files) { file + files * number } else { file };
        let size = 30 + (file * 7919) % 997 * ((file * 31) % 13 + 1) / 3;
        (format!("usr/{:03}/{file}", file / 100), vec![noise(seed as u64, size)])
    };
    (0..files).map(file).collect()
}

/// Returns the bytes that an update must fetch: its new chunks, the TOC and the tar-split data.
fn needed(layer: &WrittenLayer, before: &[WrittenFile], after: &[WrittenFile]) -> u64 {
    let positions = layer.positions().unwrap().unwrap();
    let new = before.iter().zip(after).filter(|(before, after)| before.1 != after.1);
    // As the writer compresses them.
    let chunks: usize = new.map(|(_, after)| zstd::bulk::compress(&after.1[0], 1).unwrap().len()).sum();
    positions.toc.range.len() + positions.tar_split.range.len() + chunks as u64
}

/// Writes an OCI layout with an image of one layer.
fn write_layout(dir: &Path, layer: &WrittenLayer, tag: &str) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let write = |kind: &str, content: &[u8]| {
        let digest = BlobDigest::of(content);
        fs::write(blobs.join(digest.hex()), content).unwrap();
        let media_type = format!("application/vnd.oci.image.{kind}");
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": content.len() })
    };
    let mut descriptor = write("layer.v1.tar+zstd", &layer.blob);
    descriptor["annotations"] = json!(layer.annotations);
    let rootfs = json!({ "type": "layers", "diff_ids": [layer.diff_id.to_string()] });
    let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": rootfs }).to_string();
    let config = write("config.v1+json", config.as_bytes());
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [descriptor],
    });
    let mut manifest = write("manifest.v1+json", manifest.to_string().as_bytes());
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    fs::write(dir.join("index.json"), json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// Writes an OCI layout with an image of one layer, and copies it into the registry.
fn push(registry: &Registry, layer: &WrittenLayer, tag: &str) {
    let dir = registry.dir.path().join(format!("layout-{tag}"));
    write_layout(&dir, layer, tag);
    let (from, to) = (format!("oci:{}:{tag}", dir.display()), format!("docker://{}/image:{tag}", registry.host()));
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false", &from, &to]);
    let output = skopeo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        assert_eq!(place.ours(&["init", "--insecure", "--format=1"]).status, Some(0));
        place
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn ours(&self, arguments: &[&str]) -> Outcome {
        let repo = self.repo();
        let program = Program { path: Path::new(COMPOSEFS), name: "composefs" };
        program.run([&["--repo", repo.to_str().unwrap()], arguments].concat(), b"")
    }

    /// Pulls from a port of the loopback address.
    fn pull(&self, port: u16, tag: &str, more: &[&str]) -> Value {
        let source = format!("docker://127.0.0.1:{port}/image:{tag}");
        let pull = ["oci", "pull", &source, "--name=image", "--tls-verify=false", "--json"];
        let outcome = self.ours(&[&pull, more].concat());
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        serde_json::from_slice(&outcome.stdout).unwrap()
    }
}

/// A registry with two versions of an image.
struct TwoVersions {
    registry: Registry,
    needed: u64,
    /// The digest of the image of the second version.
    image: Value,
}

fn two_versions(name: &str, files: usize, is_changed: ChangedFile) -> Option<TwoVersions> {
    if !has_programs(name, &["skopeo"]) {
        return None;
    }
    let registry = Registry::start(name, &Setup::default())?;
    let (first, second) = (version(1, files, is_changed), version(2, files, is_changed));
    let layer = writer::write(&second);
    push(&registry, &writer::write(&first), "one");
    push(&registry, &layer, "two");
    let whole = Place::new().pull(registry.port, "two", &["--whole"]);
    assert_eq!(whole["layers"][0]["partial"], Value::Null);
    Some(TwoVersions { needed: needed(&layer, &first, &second), registry, image: whole["image"].clone() })
}

/// The requests and bytes of an update.
#[derive(Debug)]
struct Transfer {
    /// Requests for the layer.
    requests: u64,
    /// Bytes of the answers, heads included.
    bytes: u64,
    /// Bytes of the blob that the program says it has fetched, if it has fetched parts.
    fetched: Option<u64>,
}

/// Pulls the first version, then the second by a proxy.
fn update(images: &TwoVersions, treatment: ProxyTreatment) -> (Place, Transfer) {
    let place = Place::new();
    place.pull(images.registry.port, "one", &[]);
    let proxy = RegistryProxy::start(images.registry.port, treatment);
    let report = place.pull(proxy.port, "two", &[]);
    assert_eq!((&report["image"], &report["warnings"]), (&images.image, &json!([])), "{treatment:?}");
    let (requests, bytes) = proxy.counted();
    // One of them is for the configuration.
    let transfer =
        Transfer { requests: requests - 1, bytes, fetched: report["layers"][0]["partial"]["fetched"].as_u64() };
    println!("{treatment:?}: {transfer:?}, {} needed", images.needed);
    (place, transfer)
}

/// Checks an update against the promise: at most 20 requests, at most 5 % more bytes.
fn check(images: &TwoVersions, transfer: &Transfer) {
    let fetched = transfer.fetched.expect("parts");
    assert!(transfer.requests <= 20, "{transfer:?}");
    assert!(fetched * 100 <= images.needed * 105, "{transfer:?} {}", images.needed);
    // Heads of answers and of their parts.
    assert!(transfer.bytes <= fetched + 200 * 130 + transfer.requests * 1000, "{transfer:?}");
}

#[test]
fn an_update_fetches_only_what_is_new() {
    let Some(images) = two_versions("an_update_fetches_only_what_is_new", 10_000, scattered) else { return };
    let (place, transfer) = update(&images, ProxyTreatment::Nothing);
    check(&images, &transfer);
    assert!(place.repo().join("cache/contents").exists());
    for command in [&["oci", "verify", "image"][..], &["fsck"], &["gc", "--grace=0"], &["doctor"]] {
        let outcome = place.ours(command);
        assert!(!outcome.stderr.contains("cache"), "{outcome:?}");
        assert!(command == ["doctor"] || outcome.status == Some(0), "{outcome:?}");
    }
}

#[test]
fn cfsctl_leaves_the_table_alone() {
    let test = "cfsctl_leaves_the_table_alone";
    let peers = std::env::var_os("COMPOSEFS_PEERS").map(|peers| Path::new(&peers).join("cfsctl"));
    let Some(cfsctl) = peers.filter(|path| path.exists()) else {
        return skip::announce(test, "cfsctl 0.9.4 is not there: COMPOSEFS_PEERS=$(cargo xtask peers --rust)");
    };
    let Some(images) = two_versions(test, 500, scattered) else { return };
    let (place, transfer) = update(&images, ProxyTreatment::Nothing);
    assert!(transfer.fetched.is_some(), "{transfer:?}");
    let (repo, table) = (place.repo(), place.repo().join("cache/contents"));
    let before = fs::read(&table).unwrap();
    let program = Program { path: &cfsctl, name: "cfsctl" };
    let theirs = |arguments: &[&str]| {
        program.run([&["--insecure", "--repo", repo.to_str().unwrap()], arguments].concat(), b"").ok()
    };
    let checked = theirs(&["oci", "fsck"]);
    assert!(String::from_utf8_lossy(&checked.stdout).contains("status: ok"), "{checked:?}");
    theirs(&["gc"]);
    assert_eq!(fs::read(&table).unwrap(), before);
    assert_eq!(place.ours(&["oci", "verify", "image"]).status, Some(0));
}

#[test]
fn single_ranges_suffice_for_files_beside_each_other() {
    let test = "single_ranges_suffice_for_files_beside_each_other";
    let Some(images) = two_versions(test, 2000, in_five_places) else { return };
    let (_, transfer) = update(&images, ProxyTreatment::FirstRange);
    check(&images, &transfer);
    // The TOC, the tar-split data, and each place.
    assert!((6..=8).contains(&transfer.requests), "{transfer:?}");
}

#[test]
fn servers_may_answer_in_other_ways() {
    let Some(images) = two_versions("servers_may_answer_in_other_ways", 2000, scattered) else { return };
    let (_, cut) = update(&images, ProxyTreatment::Cut(100_000));
    assert!(cut.requests > 2, "{cut:?}");
    check(&images, &cut);
    // Of scattered files, what is between them is the price of few requests.
    let (_, first) = update(&images, ProxyTreatment::FirstRange);
    assert!(first.fetched.is_some() && first.requests <= 20, "{first:?}");
    let (_, none) = update(&images, ProxyTreatment::NoRanges);
    assert!(none.fetched.is_none() && none.requests <= 2, "{none:?}");
    let place = Place::new();
    place.pull(images.registry.port, "one", &[]);
    let report = place.pull(images.registry.port, "two", &["--whole"]);
    assert_eq!((&report["image"], &report["layers"][0]["partial"]), (&images.image, &Value::Null));
}

/// The user `user` with the password `password`.
const HTPASSWD: &str = "user:$2y$05$n27qd7t7ml/GxtgQhib9lejrQ4c8B74tFKkb3PRG.FCbVwFu7p4bm\n";

#[test]
fn every_command_takes_the_options_of_registries() {
    let test = "every_command_takes_the_options_of_registries";
    let auth = "auth:\n  htpasswd:\n    realm: test\n    path: DIR/htpasswd\n";
    let setup = Setup { auth, files: &[("htpasswd", HTPASSWD)], ..Setup::default() };
    let Some(registry) = Registry::start(test, &setup) else { return };
    let (place, host) = (Place::new(), registry.host());
    let source = format!("docker://{host}/image:1");
    let file = registry.dir.path().join("auth.json");
    // user:password
    fs::write(&file, json!({ "auths": { &host: { "auth": "dXNlcjpwYXNzd29yZA==" } } }).to_string()).unwrap();
    let authfile = format!("--authfile={}", file.display());
    let commands = [&["ls"][..], &["find"], &["check"], &["du"], &["digest"], &["explain-digest", "--list"]];
    for command in
        [&commands[..], &[&["diff", &source], &["oci", "diff", &source], &["oci", "digest"], &["oci", "pull"]]].concat()
    {
        let run = |options: &[&str]| place.ours(&[command, &[&source, "--tls-verify=false"], options].concat()).stderr;
        let without = run(&[]);
        assert!(without.contains("podman login"), "{command:?}: {without}");
        // The registry lets in, and has no such image.
        let with = run(&[&authfile]);
        assert!(with.contains(&host) && !with.contains("podman login"), "{command:?}: {with}");
    }
}
