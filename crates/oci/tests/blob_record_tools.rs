//! Records of the layers that podman, buildah, skopeo and umoci write: to a registry, to layouts and to directories.
//!
//! Each program writes 21 layers, 84 in all and 105 with `COMPOSEFS_FULL=1`. In the short form all but the first are
//! small.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::blob_record::{make_record, rebuild};
use libcomposefs_testkit::privilege::is_root;
use libcomposefs_testkit::registry::DockerRegistry;
use libcomposefs_testkit::skip;
use serde_json::json;

/// Number of layers of an image.
const LAYERS: usize = 21;

/// Asks for large layers.
fn is_long() -> bool {
    std::env::var_os("COMPOSEFS_FULL").is_some_and(|value| value == "1")
}

/// Writes the files of layer `number`: text, numbers and a part of a program.
fn write_files(dir: &Path, number: usize) {
    fs::create_dir_all(dir).unwrap();
    let mut state = number as u32 + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    let part = if number == 0 || is_long() { 1 } else { 10 };
    let words: String = (0..30_000 / part).map(|_| format!("word{} ", next() & 0x3ff)).collect();
    let numbers: Vec<u8> = (0..60_000 / part).flat_map(|_| (next() & 0xfff).to_le_bytes()).collect();
    let program = fs::read(std::env::current_exe().unwrap()).unwrap();
    let program = &program[(number * 500_000).min(program.len() / 2)..][..200_000 / part];
    for (name, bytes) in [("words", words.as_bytes()), ("numbers", &numbers), ("program", program)] {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// An image of uncompressed layers, in a layout.
struct ToolImage {
    dir: tempfile::TempDir,
    layers: usize,
}

impl ToolImage {
    fn new() -> Self {
        let (dir, layers) = (tempfile::tempdir().unwrap(), LAYERS);
        let blobs = dir.path().join("in/blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |kind: &str, bytes: &[u8]| {
            let digest = BlobDigest::of(bytes);
            fs::write(blobs.join(digest.hex()), bytes).unwrap();
            json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest.to_string(),
                    "size": bytes.len() })
        };
        let layer = |number| {
            let files = dir.path().join(format!("files-{number}"));
            write_files(&files, number);
            let args = ["--sort=name", "--mtime=@1", "-cf-", "-C"];
            let output = Command::new("tar").args(args).arg(files).arg(".").output().unwrap();
            assert!(output.status.success());
            put("layer.v1.tar", &output.stdout)
        };
        let layer_blobs: Vec<_> = (0..layers).map(layer).collect();
        let diff_ids: Vec<_> = layer_blobs.iter().map(|layer| layer["digest"].clone()).collect();
        let config = json!({ "architecture": "amd64", "os": "linux", "config": {},
                             "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let config = put("config.v1+json", config.to_string().as_bytes());
        let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                               "config": config, "layers": layer_blobs });
        let manifest = put("manifest.v1+json", manifest.to_string().as_bytes());
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(dir.path().join("in/index.json"), index.to_string()).unwrap();
        fs::write(dir.path().join("in/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { dir, layers }
    }

    fn text(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs a program in the directory: podman makes a name of the path, which may have no capital letters. `None` if
    /// it is not installed.
    fn run(&self, program: &str, args: &[&str]) -> Option<String> {
        let output = match Command::new(program).args(args).current_dir(self.dir.path()).output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            output => output.unwrap(),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{program} {args:?}: {}", text(&output.stderr));
        Some(text(&output.stdout))
    }

    /// Makes a record of each gzip blob below a directory, and rebuilds the blob.
    fn check(&self, what: &str, name: &str) {
        let mut blobs = Vec::new();
        find_gzip(&self.dir.path().join(name), &mut blobs);
        assert_eq!(blobs.len(), self.layers, "{what}: {blobs:?}");
        for path in blobs {
            let blob = fs::read(&path).unwrap();
            let mut archive = Vec::new();
            flate2::read::MultiGzDecoder::new(&blob[..]).read_to_end(&mut archive).unwrap();
            let record = make_record(&blob[..], blob.len() as u64).unwrap_or_else(|error| panic!("{what}: {error}"));
            let mut rebuilt = Vec::new();
            rebuild(&record, &mut &archive[..], &mut rebuilt).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(rebuilt == blob, "{what}: another blob");
            let max = archive.len() / 100 + 512;
            assert!(record.len() <= max, "{what}: the record of {} bytes has {}", archive.len(), record.len());
        }
    }
}

/// Collects the files that begin as a gzip member does.
fn find_gzip(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_gzip(&path, found);
        } else if fs::read(&path).unwrap().starts_with(&[0x1f, 0x8b]) {
            found.push(path);
        }
    }
}

#[test]
fn skopeo() {
    let image = ToolImage::new();
    let target = format!("oci:{}:x", image.text("out"));
    if image.run("skopeo", &["--insecure-policy", "copy", "-q", "oci:in", &target]).is_none() {
        return skip::announce("skopeo", "skopeo is not installed");
    }
    image.check("skopeo copy", "out");
}

/// podman pushes to a registry, buildah to a layout, from the same store.
#[test]
fn podman_and_buildah() {
    let test = "podman_and_buildah";
    if !is_root() {
        return skip::announce(test, "only root can have a store of podman");
    }
    let image = ToolImage::new();
    let (root, runroot) = (image.text("store"), image.text("run"));
    let store = ["--root", &root, "--runroot", &runroot, "--storage-driver=vfs"];
    let podman = |args: &[&str]| image.run("podman", &[&store, args].concat());
    let Some(id) = podman(&["pull", "-q", "oci:in"]) else {
        return skip::announce(test, "podman is not installed");
    };
    let id = id.trim();
    if let Some(registry) = DockerRegistry::start(&image.dir.path().join("registry")) {
        podman(&["push", "-q", "--tls-verify=false", id, &format!("docker://{}/app:1", registry.address)]);
        image.check("podman push docker://", "registry");
    } else {
        skip::announce(test, "docker-registry is not installed");
    }
    if is_long() {
        podman(&["push", "-q", id, &format!("oci:{}:x", image.text("podman"))]);
        image.check("podman push oci:", "podman");
    }
    let target = format!("oci:{}:x", image.text("buildah"));
    if image.run("buildah", &[&store[..], &["push", "-q", id, &target]].concat()).is_none() {
        return skip::announce(test, "buildah is not installed");
    }
    image.check("buildah push", "buildah");
}

#[test]
fn umoci() {
    let image = ToolImage::new();
    let layout = image.text("umoci");
    if image.run("umoci", &["init", "--layout", &layout]).is_none() {
        return skip::announce("umoci", "umoci is not installed");
    }
    let name = format!("{layout}:x");
    image.run("umoci", &["new", "--image", &name]);
    for number in 0..image.layers {
        let files = image.text(&format!("files-{number}"));
        image.run("umoci", &["insert", "--rootless", "--image", &name, &files, &format!("/{number}")]);
    }
    image.check("umoci insert", "umoci");
}
