//! A repository to begin with, for the targets that need one, and what is in a directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use libcomposefs_image::dump::Options;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::{Format, RefName, Repository, Settings};
use tempfile::TempDir;

use crate::parse;

/// The name of the image that is in the repository from the beginning.
pub const KEPT: &str = "kept";

/// A new directory in `TMPDIR`, which `cargo xtask fuzz` sets to a directory in memory.
///
/// # Panics
///
/// If it cannot be made.
#[must_use]
pub fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("composefs-fuzz.").tempdir().expect("the temporary directory can be written")
}

/// Makes a repository with one image, named [`KEPT`], of one file. Gives it with the digest of the image.
///
/// # Panics
///
/// If it cannot be made.
#[must_use]
pub fn repository(path: &Path, algorithm: Algorithm) -> (Repository, Digest) {
    let settings = Settings { algorithm, demands_verity: false, format: Format::Auto };
    let (repository, _) = Repository::init(path, settings).expect("a repository can be made");
    let transaction = repository.transaction().expect("a lease can be made");
    let (object, _) = transaction.batch().put_bytes(&[b'k'; 100]).expect("a small object");
    let line = format!("/file 100 100644 1 0 0 0 0.0 {} - {object}\n", object.object_path());
    let text = format!("/ 0 40755 2 0 0 0 0.0 - - -\n{line}");
    let tree = parse(Options { algorithm, strict: true }, text.as_bytes()).expect("a right dump").tree;
    let image = Format::Auto.plan(&tree).expect("a small tree");
    let names = vec![RefName::new(KEPT).expect("a right name")];
    let digest = transaction.commit_image(&tree, &image, names).expect("a small image").digest;
    (repository, digest)
}

/// The metadata and the content of the file under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    mode: u32,
    owner: (u32, u32),
    links: u64,
    content: Vec<u8>,
}

/// All that is below a directory, without what is below `except`. Two lists are the same if nothing was changed.
///
/// # Panics
///
/// If it cannot be read.
#[must_use]
pub fn everything(directory: &Path, except: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let stat = fs::symlink_metadata(&path).expect("what is listed is there");
        let content = if stat.is_symlink() {
            fs::read_link(&path).expect("a symlink").into_os_string().into_encoded_bytes()
        } else if stat.is_file() {
            fs::read(&path).expect("a file of this program")
        } else {
            Vec::new()
        };
        if stat.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory of this program");
            pending.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path != except));
        }
        // The number of links of a directory changes with the directories in it.
        let links = if stat.is_dir() { 0 } else { stat.nlink() };
        found.insert(path, Facts { mode: stat.mode(), owner: (stat.uid(), stat.gid()), links, content });
    }
    found
}
