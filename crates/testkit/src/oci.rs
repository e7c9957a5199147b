//! OCI image layouts with recorded digests (`data/oci/README.md`).

use std::path::{Path, PathBuf};
use std::process::Command;

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
