//! `composefs oci` on layouts and archives: the same image by every way, refusals that leave no name, and repositories
//! in which cfsctl 0.9.4 works too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::registry::DockerRegistry;
use libcomposefs_testkit::scratch::ScratchRepository;
use libcomposefs_testkit::{oci, skip};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

struct Place(ScratchRepository);

impl Place {
    fn new() -> Self {
        Self(ScratchRepository::new(COMPOSEFS))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn layout(&self, name: &str) -> PathBuf {
        self.0.layout(name)
    }

    fn ours(&self, arguments: &[&str]) -> Outcome {
        self.0.run(arguments)
    }

    fn pull(&self, source: &str, name: &str) -> Outcome {
        self.ours(&["oci", "pull", source, &format!("--name={name}"), "--json"])
    }

    fn run(&self, path: &Path, name: &str, before: &[&str], arguments: &[&str]) -> Outcome {
        let repo = self.path("repo");
        Program { path, name }.run([before, &["--repo", repo.to_str().unwrap()], arguments].concat(), b"")
    }

    fn names(&self) -> String {
        self.0.prints(&["oci", "images", "-q"])
    }
}

fn expect_success(outcome: &Outcome) {
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
}

/// Returns the report of a command that succeeded.
fn json_of(outcome: &Outcome) -> Value {
    expect_success(outcome);
    serde_json::from_slice(outcome.stdout.as_ref()).unwrap()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A layout whose parts can be changed.
struct Layout {
    path: PathBuf,
    manifest: Value,
    config: Value,
}

impl Layout {
    fn open(path: PathBuf) -> Self {
        let mut layout = Self { path, manifest: Value::Null, config: Value::Null };
        let index: Value = serde_json::from_slice(&fs::read(layout.path.join("index.json")).unwrap()).unwrap();
        layout.manifest = serde_json::from_slice(&layout.blob(&index["manifests"][0])).unwrap();
        layout.config = serde_json::from_slice(&layout.blob(&layout.manifest["config"])).unwrap();
        layout
    }

    fn blob_path(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap();
        self.path.join("blobs").join(digest.replace(':', "/"))
    }

    fn blob(&self, descriptor: &Value) -> Vec<u8> {
        fs::read(self.blob_path(descriptor)).unwrap()
    }

    /// Stores a blob and returns its digest and size.
    fn put(&self, bytes: &[u8]) -> (String, usize) {
        let hex = sha256(bytes);
        fs::write(self.path.join("blobs/sha256").join(&hex), bytes).unwrap();
        (format!("sha256:{hex}"), bytes.len())
    }

    fn set_layer(&mut self, number: usize, blob: &[u8]) {
        let (digest, size) = self.put(blob);
        let layer = &mut self.manifest["layers"][number];
        (layer["digest"], layer["size"]) = (json!(digest), json!(size));
    }

    /// Writes the configuration, the manifest and the index anew.
    fn save(&mut self) {
        let (digest, size) = self.put(self.config.to_string().as_bytes());
        let config = &mut self.manifest["config"];
        (config["digest"], config["size"]) = (json!(digest), json!(size));
        self.save_manifest();
    }

    fn save_manifest(&self) {
        let (digest, size) = self.put(self.manifest.to_string().as_bytes());
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": self.manifest["mediaType"], "digest": digest, "size": size,
            "annotations": { "org.opencontainers.image.ref.name": "t" },
        }] });
        fs::write(self.path.join("index.json"), index.to_string()).unwrap();
    }

    fn source(&self) -> String {
        format!("oci:{}:t", text(&self.path))
    }
}

fn gunzip(blob: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::copy(&mut GzDecoder::new(blob), &mut bytes).unwrap();
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// The digest of the image of a layout, as cfsctl gave it.
fn recorded(layout: &str) -> String {
    let is_it = |row: &oci::RecordedDigest| {
        row.layout == layout && row.algorithm == "sha256" && row.version == "1" && row.xattrs == "allowlist-only"
    };
    oci::recorded().into_iter().find(is_it).and_then(|row| row.digest).unwrap()
}

#[test]
fn layouts_and_archives_give_the_recorded_digest() {
    let place = Place::new();
    let layout = Layout::open(place.layout("three-layers"));
    let archive = place.path("archive.tar");
    let tar = |file: &Path, folder: &Path| {
        assert!(Command::new("tar").arg("-cf").arg(file).arg("-C").arg(folder).arg(".").status().unwrap().success());
    };
    tar(&archive, &layout.path);
    // An archive of `docker save`, with uncompressed layers.
    let saved = place.path("saved");
    fs::create_dir(&saved).unwrap();
    let config = layout.blob(&layout.manifest["config"]);
    fs::write(saved.join("config.json"), &config).unwrap();
    let mut layers = Vec::new();
    for (number, layer) in layout.manifest["layers"].as_array().unwrap().iter().enumerate() {
        let name = format!("{number}/layer.tar");
        fs::create_dir(saved.join(number.to_string())).unwrap();
        fs::write(saved.join(&name), gunzip(&layout.blob(layer))).unwrap();
        layers.push(name);
    }
    let list = json!([{ "Config": "config.json", "RepoTags": ["example/three:1"], "Layers": layers }]);
    fs::write(saved.join("manifest.json"), list.to_string()).unwrap();
    let docker = place.path("docker.tar");
    tar(&docker, &saved);

    let expected = recorded("three-layers");
    for source in [
        layout.source(),
        format!("oci:{}", text(&layout.path)),
        format!("oci-archive:{}:t", text(&archive)),
        format!("docker-archive:{}:example/three:1", text(&docker)),
        format!("docker-archive:{}:@0", text(&docker)),
    ] {
        let pulled = json_of(&place.pull(&source, "example/three:1"));
        assert_eq!(pulled["image"], expected, "{source}");
        let digest = place.ours(&["oci", "digest", &source, "--algorithm=sha256"]).ok();
        assert_eq!(digest.line(), expected, "{source}");
    }
    assert_eq!(place.names(), "example/three:1\n");
    expect_success(&place.ours(&["oci", "verify", "example/three:1"]));
    // The image is one of the repository like any other.
    let listing = place.ours(&["ls", &expected, "/var"]).ok();
    assert_eq!(String::from_utf8(listing.stdout).unwrap(), "a\nb\nc\n");
}

#[test]
fn the_second_pull_finds_the_layers() {
    let place = Place::new();
    let layout = Layout::open(place.layout("three-layers"));
    let first = json_of(&place.pull(&layout.source(), "one"));
    assert!(first["layers"].as_array().unwrap().iter().all(|layer| layer["present"] == false), "{first}");
    for layer in layout.manifest["layers"].as_array().unwrap() {
        fs::remove_file(layout.blob_path(layer)).unwrap();
    }
    let second = json_of(&place.pull(&layout.source(), "two"));
    assert!(second["layers"].as_array().unwrap().iter().all(|layer| layer["present"] == true), "{second}");
    assert_eq!((&second["image"], &second["new_objects"]), (&first["image"], &json!(0)));
    assert_eq!(place.names(), "one\ntwo\n");
}

#[test]
fn a_stored_layer_that_is_not_what_its_name_says_is_pulled_again() {
    let place = Place::new();
    let layout = Layout::open(place.layout("three-layers"));
    expect_success(&place.pull(&layout.source(), "one"));
    // As a program leaves it that does not compare diff IDs: the stream of another layer under the name of the first.
    let streams = place.path("repo/streams");
    let name = |number: usize| {
        let diff_id = layout.config["rootfs"]["diff_ids"][number].as_str().unwrap();
        streams.join(format!("oci-layer-{diff_id}"))
    };
    let other = fs::read_link(name(2)).unwrap();
    fs::remove_file(name(0)).unwrap();
    std::os::unix::fs::symlink(&other, name(0)).unwrap();
    let verified = place.ours(&["oci", "verify", "one"]);
    assert_eq!(verified.status, Some(1));
    let report = json_of(&place.pull(&layout.source(), "one"));
    assert_eq!(report["image"], recorded("three-layers"));
    assert_eq!(report["layers"][0]["present"], false);
    assert_eq!(report["warnings"].as_array().unwrap().len(), 1, "{report}");
    expect_success(&place.ours(&["oci", "verify", "one"]));
}

/// Changes a layout so that it must be refused.
type Damage = fn(&mut Layout);

#[test]
fn a_wrong_image_is_refused_and_has_no_name() {
    let damages: [(&str, &str, Damage); 12] = [
        ("another diff ID", "diff_ids", |layout| {
            layout.config["rootfs"]["diff_ids"][1] = json!(format!("sha256:{}", sha256(b"another")));
            layout.save();
        }),
        ("another blob", "has the digest", |layout| {
            let path = layout.blob_path(&layout.manifest["layers"][1]);
            let mut blob = fs::read(&path).unwrap();
            // The time in the header of gzip: the archive in it stays the same.
            blob[4] ^= 1;
            fs::write(path, blob).unwrap();
        }),
        ("another configuration", "has the digest", |layout| {
            let path = layout.blob_path(&layout.manifest["config"]);
            let config = fs::read_to_string(&path).unwrap().replace("amd64", "arm64");
            fs::write(path, config).unwrap();
        }),
        ("a truncated blob", "layer 2 of 3", |layout| {
            let blob = layout.blob(&layout.manifest["layers"][1]);
            layout.set_layer(1, &blob[..blob.len() - 9]);
            layout.save();
        }),
        ("a longer blob", "more than the", |layout| {
            layout.manifest["layers"][1]["size"] = json!(1);
            layout.save();
        }),
        ("a shorter blob", "the manifest says", |layout| {
            let size = layout.manifest["layers"][1]["size"].as_u64().unwrap();
            layout.manifest["layers"][1]["size"] = json!(size + 1);
            layout.save();
        }),
        ("a missing blob", "cannot read blobs/sha256/", |layout| {
            fs::remove_file(layout.blob_path(&layout.manifest["layers"][2])).unwrap();
        }),
        ("fewer layers", "3 diff IDs", |layout| {
            layout.manifest["layers"].as_array_mut().unwrap().pop();
            layout.save();
        }),
        ("no archive", "damaged (its media type \"text/plain\" is not that of a layer)", |layout| {
            let blob = vec![b'x'; 2048];
            layout.config["rootfs"]["diff_ids"][2] = json!(format!("sha256:{}", sha256(&blob)));
            layout.set_layer(2, &gzip(&blob));
            layout.manifest["layers"][2]["mediaType"] = json!("text/plain");
            layout.save();
        }),
        ("an artifact", "artifact", |layout| {
            layout.manifest["config"]["mediaType"] = json!("application/vnd.example+json");
            layout.save_manifest();
        }),
        ("a manifest that is an index too", "index and of a manifest", |layout| {
            layout.manifest["manifests"] = json!([]);
            layout.save_manifest();
        }),
        ("another digest algorithm", "sha256:", |layout| {
            layout.manifest["layers"][0]["digest"] = json!(format!("sha512:{}", "0".repeat(128)));
            layout.save_manifest();
        }),
    ];
    for (what, message, damage) in damages {
        let place = Place::new();
        let mut layout = Layout::open(place.layout("three-layers"));
        layout.save();
        expect_success(&place.pull(&layout.source(), "good"));
        expect_success(&place.ours(&["oci", "untag", "good"]));
        fs::remove_dir_all(place.path("repo")).unwrap();
        expect_success(&place.ours(&["init", "--insecure", "--format=1"]));
        damage(&mut layout);
        let refused = place.pull(&layout.source(), "bad");
        assert_eq!(refused.status, Some(1), "{what}");
        let error = refused.stderr.clone();
        assert!(error.contains(message), "{what}: {error}");
        let streams = fs::read_dir(place.path("repo/streams")).map_or(0, Iterator::count);
        let images = fs::read_dir(place.path("repo/images"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name() != "refs");
        assert_eq!((place.names(), streams, images.count()), (String::new(), 0, 0), "{what}");
    }
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let place = Place::new();
    let mut layout = Layout::open(place.layout("three-layers"));
    let archive = [gunzip(&layout.blob(&layout.manifest["layers"][2])), vec![0; 8 << 20]].concat();
    layout.config["rootfs"]["diff_ids"][2] = json!(format!("sha256:{}", sha256(&archive)));
    layout.set_layer(2, &gzip(&archive));
    layout.save();
    let source = layout.source();
    let pull = |limit: u32| place.ours(&["oci", "pull", &source, "--name=x", &format!("--max-layer-size={limit}")]);
    let refused = pull(8 << 20);
    assert_eq!(refused.status, Some(1));
    assert!(refused.stderr.contains("--max-layer-size"), "{refused:?}");
    expect_success(&pull(9 << 20));
}

#[test]
fn an_index_gives_the_image_of_the_platform() {
    let place = Place::new();
    let layout = Layout::open(place.layout("three-layers"));
    let single = |platform: &str| place.ours(&["oci", "digest", &layout.source(), &format!("--platform={platform}")]);
    expect_success(&single("linux/amd64"));
    let other = single("linux/s390x");
    assert!(other.status == Some(1) && other.stderr.contains("is for linux/amd64, not for linux/s390x"), "{other:?}");
    let (digest, size) = layout.put(layout.manifest.to_string().as_bytes());
    let entry = |os: &str, architecture: &str, digest: &str| {
        json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
            "platform": { "os": os, "architecture": architecture } })
    };
    let missing = format!("sha256:{}", "0".repeat(64));
    let nested = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry("linux", "s390x", &missing), entry("linux", "ppc64le", &digest)] });
    let (nested, nested_size) = layout.put(nested.to_string().as_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [{ "digest": nested, "size": nested_size,
        "mediaType": "application/vnd.oci.image.index.v1+json" }] });
    fs::write(layout.path.join("index.json"), index.to_string()).unwrap();
    let source = format!("oci:{}", text(&layout.path));
    let pull = |platform: &str| place.ours(&["oci", "pull", &source, "--name=x", &format!("--platform={platform}")]);
    expect_success(&pull("linux/ppc64le"));
    let refused = pull("linux/amd64");
    assert_eq!(refused.status, Some(1));
    let error = refused.stderr.clone();
    assert!(error.contains("linux/s390x, linux/ppc64le"), "{error}");
    // The commands that look into images take the option too.
    let (ppc, amd) = ("--platform=linux/ppc64le", "--platform=linux/amd64");
    for (status, command) in [(1, &["ls", &source][..]), (1, &["digest", &source]), (2, &["check", &source])] {
        expect_success(&place.ours(&[command, &[ppc]].concat()));
        let refused = place.ours(&[command, &[amd]].concat());
        assert_eq!(refused.status, Some(status), "{command:?}");
        assert!(refused.stderr.contains("linux/s390x, linux/ppc64le"), "{refused:?}");
    }
    for command in [&["diff", &source, &source][..], &["oci", "diff", &source, &source], &["du", &source]] {
        expect_success(&place.ours(&[command, &[ppc]].concat()));
    }
    // A printed command line has the option.
    let want = format!("--want={}", place.ours(&["oci", "digest", &source, ppc]).line());
    let explained = place.ours(&["explain-digest", &source, ppc, &want]);
    assert!(String::from_utf8_lossy(&explained.stdout).contains(&format!("{source} {ppc}")), "{explained:?}");
    assert_eq!(pull("linux/s390x").status, Some(1));
}

fn cfsctl() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("COMPOSEFS_PEERS")?).join("cfsctl");
    path.exists().then_some(path)
}

#[test]
fn cfsctl_finds_what_was_pulled_and_the_other_way_round() {
    let test = "cfsctl_finds_what_was_pulled_and_the_other_way_round";
    let Some(cfsctl) = cfsctl() else {
        return skip::announce(test, "cfsctl 0.9.4 is not there: COMPOSEFS_PEERS=$(cargo xtask peers --rust)");
    };
    if Command::new("skopeo").arg("--version").output().is_err() {
        return skip::announce(test, "skopeo is not installed");
    }
    let place = Place::new();
    let theirs = |arguments: &[&str]| place.run(&cfsctl, "cfsctl", &["--insecure"], arguments);
    let layouts = ["three-layers", "names-long", "pax-xattr", "special-files", "gzip-multi-member", "hardlink-abs"];
    for layout in layouts {
        let source = format!("oci:{}:t", text(&place.layout(layout)));
        assert_eq!(json_of(&place.pull(&source, layout))["image"], recorded(layout), "{layout}");
        let id = theirs(&["oci", "compute-id", layout]).ok();
        assert!(id.line().ends_with(&recorded(layout)), "{layout}: {id:?}");
    }
    let checked = theirs(&["oci", "fsck"]).ok();
    assert!(String::from_utf8_lossy(&checked.stdout).contains("status: ok"), "{checked:?}");
    // Their gc keeps what is tagged.
    expect_success(&theirs(&["gc"]));
    for layout in layouts {
        expect_success(&place.ours(&["oci", "verify", layout]));
    }
    // Images that they pull are ours too: the same digest, nothing to store.
    for layout in ["whiteout", "run-boot-sysroot", "inline-limits"] {
        let source = format!("oci:{}:t", text(&place.layout(layout)));
        expect_success(&theirs(&["oci", "pull", &source, &format!("their/{layout}")]));
        expect_success(&place.ours(&["oci", "verify", &format!("their/{layout}")]));
        let pulled = json_of(&place.pull(&source, &format!("our/{layout}")));
        assert!(pulled["layers"].as_array().unwrap().iter().all(|layer| layer["present"] == true), "{pulled}");
        let inspected = json_of(&place.ours(&["oci", "inspect", &format!("their/{layout}"), "--json"]));
        assert_eq!(
            (&inspected["images"][0]["digest"], &pulled["image"]),
            (&json!(recorded(layout)), &json!(recorded(layout)))
        );
    }
    expect_success(&theirs(&["oci", "fsck"]));
}

/// Returns the links and names of kept blobs.
fn kept_blobs(place: &Place) -> Vec<String> {
    let list = |below: &str| fs::read_dir(place.path("repo/streams").join(below)).into_iter().flatten();
    let paths = list("").chain(list("refs/composefs-blobs")).map(|entry| text(&entry.unwrap().path()));
    let mut kept: Vec<String> = paths.filter(|path| path.contains("composefs-blob") && path.len() > 64).collect();
    kept.sort();
    kept
}

#[test]
fn kept_blobs_are_shown_and_go_with_the_image() {
    let place = Place::new();
    let layout = Layout::open(place.layout("three-layers"));
    expect_success(&place.ours(&["oci", "pull", &layout.source(), "--name=one", "--keep-blobs=record"]));
    let kinds = |name: &str| {
        let report = json_of(&place.ours(&["oci", "inspect", name, "--json"]));
        let layers = report["layers"].as_array().unwrap().iter();
        layers.map(|layer| layer["blob"]["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds("one"), ["rebuildable"; 3]);
    let shown = place.ours(&["oci", "inspect", "one"]).ok();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("rebuildable, by a record of "), "{shown:?}");
    let kept = kept_blobs(&place);
    assert_eq!(kept.len(), 6, "{kept:?}");
    // The manifest keeps them; its text is the way that `why` prints.
    let object = text(&fs::read_link(&kept[0]).unwrap()).replace("../objects/", "").replace('/', "");
    let why = place.ours(&["why", &object]).ok();
    assert!(String::from_utf8_lossy(&why.stdout).contains("one"), "{why:?}");
    expect_success(&place.ours(&["gc", "--grace=0"]));
    if let Some(cfsctl) = cfsctl() {
        let theirs = |arguments: &[&str]| place.run(&cfsctl, "cfsctl", &["--insecure"], arguments);
        let checked = theirs(&["oci", "fsck"]).ok();
        assert!(String::from_utf8_lossy(&checked.stdout).contains("status: ok"), "{checked:?}");
        expect_success(&theirs(&["gc"]));
    }
    assert_eq!(kept_blobs(&place), kept);
    assert_eq!(kinds("one"), ["rebuildable"; 3]);
    let checked = place.ours(&["fsck"]).ok();
    assert!(String::from_utf8_lossy(&checked.stdout).contains("1 image, 1 name\n"), "{checked:?}");
    expect_success(&place.ours(&["oci", "untag", "one"]));
    expect_success(&place.ours(&["gc", "--grace=0"]));
    assert_eq!(kept_blobs(&place), [""; 0]);

    expect_success(&place.ours(&["oci", "pull", &layout.source(), "--name=no", "--keep-blobs=no"]));
    assert_eq!(kinds("no"), ["not-here"; 3]);
    expect_success(&place.ours(&["oci", "pull", &layout.source(), "--name=whole"]));
    assert_eq!(kinds("whole"), ["whole"; 3]);
}

#[test]
fn a_registry_gives_the_same_image_by_tag_and_by_digest() {
    let test = "a_registry_gives_the_same_image_by_tag_and_by_digest";
    let place = Place::new();
    let Some(registry) = DockerRegistry::start(&place.path("registry")) else {
        return skip::announce(test, "docker-registry is not installed");
    };
    let layout = Layout::open(place.layout("three-layers"));
    let name = format!("docker://{}/example/three:1", registry.address);
    let copied = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"])
        .args([&layout.source(), &name])
        .status();
    let Ok(status) = copied else { return skip::announce(test, "skopeo is not installed") };
    assert!(status.success());
    let pulled = json_of(&place.ours(&["oci", "pull", &name, "--json"]));
    assert_eq!(pulled["image"], recorded("three-layers"));
    assert_eq!(pulled["name"], name.strip_prefix("docker://").unwrap());
    // Everything is here already, under another name.
    let by_digest = format!("docker://{}/example/three@{}", registry.address, pulled["manifest"].as_str().unwrap());
    let again = json_of(&place.ours(&["oci", "pull", &by_digest, "--name=again", "--json"]));
    assert_eq!((&again["image"], &again["new_objects"]), (&pulled["image"], &json!(0)));
    let refused = place.pull(&format!("docker://{}/example/three:2", registry.address), "none");
    assert!(refused.status == Some(1) && refused.stderr.contains("MANIFEST_UNKNOWN"), "{refused:?}");
    assert!(!place.names().contains("none"));
}
