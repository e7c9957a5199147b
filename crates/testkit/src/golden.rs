//! The golden corpus: dumps with the images the reference makes of them (`data/golden/README.md`).

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The image that the reference makes of a dump in one format version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoldenImage {
    /// Its length in bytes.
    pub len: u64,
    /// The SHA-256 of the file, in hex.
    pub sha256: String,
    /// The fs-verity digest, in hex.
    pub verity: String,
}

/// A dump with its two images.
#[derive(Clone, Debug)]
pub struct Good {
    /// The name in the manifest.
    pub name: String,
    /// The text of the dump.
    pub dump: Vec<u8>,
    /// The image of version 0, then of version 1.
    pub images: [GoldenImage; 2],
}

/// A malformed dump with the reference's message.
#[derive(Clone, Debug)]
pub struct Bad {
    /// The name in the manifest.
    pub name: String,
    /// The text of the dump.
    pub dump: Vec<u8>,
    /// The reference's message without the program's name; `None` where it accepts the dump and this program does not.
    pub message: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden")
}

fn load(folder: &Path, name: &str) -> Vec<u8> {
    let plain = folder.join(format!("{name}.dump"));
    if let Ok(text) = fs::read(&plain) {
        return text;
    }
    let packed = fs::read(folder.join(format!("{name}.dump.gz"))).unwrap_or_else(|e| panic!("{name}: {e}"));
    unpack(&packed).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Decompresses gzip data.
pub(crate) fn unpack(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn rows(manifest: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(manifest).unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// Every valid dump.
///
/// # Panics
///
/// If the corpus is damaged: it is part of the source.
#[must_use]
pub fn good() -> Vec<Good> {
    let image = |row: &[String]| GoldenImage {
        len: row[0].parse().expect("a length"),
        sha256: row[1].clone(),
        verity: row[2].clone(),
    };
    let folder = folder();
    let rows = rows(&folder.join("manifest.tsv"));
    rows.iter()
        .map(|row| Good {
            name: row[0].clone(),
            dump: load(&folder, &row[0]),
            images: [image(&row[1..4]), image(&row[4..7])],
        })
        .collect()
}

/// Every malformed dump.
///
/// # Panics
///
/// If the corpus is damaged: it is part of the source.
#[must_use]
pub fn bad() -> Vec<Bad> {
    let folder = folder().join("bad");
    let rows = rows(&folder.join("manifest.tsv"));
    rows.iter()
        .map(|row| Bad {
            name: row[0].clone(),
            dump: load(&folder, &row[0]),
            message: row[2].strip_prefix("mkcomposefs: ").map(str::to_owned),
        })
        .collect()
}
