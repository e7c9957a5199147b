//! OCI image layouts: those with recorded digests (`data/oci/README.md`), and new ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/oci")
}

/// A digest that cfsctl gives to the image of a layout.
#[derive(Clone, Debug)]
pub struct RecordedDigest {
    /// The name of the layout.
    pub layout: String,
    /// The algorithm: `sha256` or `sha512`.
    pub algorithm: String,
    /// The format version of the image: `1` or `2`.
    pub version: String,
    /// The attributes that are kept: `allowlist-only` or `keep-user-xattrs`.
    pub xattrs: String,
    /// Set if the image is a bootable one.
    pub is_bootable: bool,
    /// The digest; `None` if cfsctl refuses the layout.
    pub digest: Option<String>,
}

/// Unpacks all layouts into a directory, each in one of its own. Needs the program `tar`.
///
/// # Panics
///
/// If the layouts cannot be unpacked.
pub fn unpack_layouts(directory: &Path) {
    let archive = folder().join("layouts.tar.gz");
    let status = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(directory).status();
    assert!(status.expect("tar").success(), "the layouts cannot be unpacked");
}

/// Unpacks one layout, and returns its directory.
///
/// # Panics
///
/// If the layout cannot be unpacked.
#[must_use]
pub fn unpack_layout(name: &str, directory: &Path) -> PathBuf {
    let archive = folder().join("layouts.tar.gz");
    let status = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(directory).arg(name).status();
    assert!(status.expect("tar").success(), "the layout {name} cannot be unpacked");
    directory.join(name)
}

/// Returns every recorded digest.
///
/// # Panics
///
/// If the table is damaged: it is part of the source.
#[must_use]
pub fn recorded() -> Vec<RecordedDigest> {
    let table = std::fs::read_to_string(folder().join("images.tsv")).expect("images.tsv");
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let columns: Vec<String> = row.split('\t').map(str::to_owned).collect();
        let [layout, algorithm, version, xattrs, bootable, digest] = columns.try_into().expect("six columns");
        let digest = (!digest.starts_with("ERROR")).then_some(digest);
        RecordedDigest { layout, algorithm, version, xattrs, is_bootable: bootable == "yes", digest }
    })
    .collect()
}

/// Writes a layout with one image, which has no name there.
///
/// Each layer is its archive and its blob; `layer_type` is the end of the media type of all blobs: `layer.v1.tar` or
/// `layer.v1.tar+gzip`.
///
/// # Panics
///
/// If a file cannot be written.
pub fn write_layout(directory: &Path, layer_type: &str, layers: &[(Vec<u8>, Vec<u8>)]) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a directory");
    let put = |kind: &str, bytes: &[u8]| {
        let hex = hex_of(bytes);
        fs::write(blobs.join(&hex), bytes).expect("a blob");
        json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{hex}"),
                "size": bytes.len() })
    };
    let diff_ids: Vec<String> = layers.iter().map(|(archive, _)| format!("sha256:{}", hex_of(archive))).collect();
    let descriptors: Vec<Value> = layers.iter().map(|(_, blob)| put(layer_type, blob)).collect();
    let config = json!({ "architecture": "amd64", "os": "linux", "config": {},
                         "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let config = put("config.v1+json", config.to_string().as_bytes());
    let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                           "config": config, "layers": descriptors });
    let manifest = put("manifest.v1+json", manifest.to_string().as_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(directory.join("index.json"), index.to_string()).expect("the index");
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("the version");
}

fn hex_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
