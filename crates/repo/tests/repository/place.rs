//! A repository with some images, and a copy of it that nothing happens to.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use libcomposefs_content::{NoProgress, Progress};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::fsck::{FsckOptions, FsckReport, RepairSource, open_anyway};
use libcomposefs_repo::{Format, RefName, Repository, Settings};
use libcomposefs_scan::{self as scan};
use tempfile::TempDir;

pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) images: Vec<Digest>,
}

pub(crate) const SETTINGS: Settings =
    Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::One };

impl Place {
    /// Three images of overlapping trees in `repo`, the same in `copy`.
    pub(crate) fn new(files: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (repository, _) = Repository::init(&dir.path().join("repo"), SETTINGS).unwrap();
        let mut images = Vec::new();
        for tree in 0..3u32 {
            let path = dir.path().join(format!("tree{tree}"));
            fs::create_dir_all(path.join("d")).unwrap();
            for file in 0..files {
                let seed = file * 3 + (file + tree) / 4;
                let len = 70 + (seed.wrapping_mul(7919)) % 20_000;
                let bytes: Vec<u8> = (0..len).map(|i| (i.wrapping_mul(seed * 2 + 1) >> 5) as u8 ^ seed as u8).collect();
                fs::write(path.join(format!("d/{file}")), bytes).unwrap();
            }
            let name = RefName::new(["one", "folder/two", "folder/deep/three"][tree as usize]).unwrap();
            let made = repository.create(&path, &scan::Options::default(), Some(&name), &NoProgress).unwrap();
            images.push(made.digest);
        }
        copy_repository(&dir.path().join("repo"), &dir.path().join("copy"));
        Self { dir, images }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn fsck(&self, repair: bool, from: &[&str]) -> FsckReport {
        self.fsck_telling(repair, from, &NoProgress)
    }

    pub(crate) fn fsck_telling(&self, repair: bool, from: &[&str], progress: &dyn Progress) -> FsckReport {
        let (repository, meta) = open_anyway(&self.path("repo")).unwrap();
        let sources =
            from.iter().map(|name| RepairSource::open(&self.path(name), Algorithm::Sha256).unwrap()).collect();
        let options = FsckOptions { repair, sources, threads: NonZeroUsize::new(2).unwrap() };
        repository.fsck(meta, &options, progress).unwrap()
    }

    /// The objects, by their paths below the repository.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let all = snapshot(&self.path("copy"));
        all.into_iter()
            .filter(|(path, what)| path.starts_with("objects") && matches!(what, Thing::File { .. }))
            .map(|(path, _)| path)
            .collect()
    }
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    Directory,
    File { mode: u32, content: Vec<u8> },
    Link(PathBuf),
    Other(u32),
}

/// All entries of a repository, without leases and quarantine.
pub(crate) fn snapshot(path: &Path) -> BTreeMap<PathBuf, Thing> {
    let (mut found, mut waiting) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(below) = waiting.pop() {
        for entry in fs::read_dir(path.join(&below)).unwrap() {
            let below = below.join(entry.unwrap().file_name());
            if below.starts_with("leases") || below.starts_with("quarantine") {
                continue;
            }
            let full = path.join(&below);
            let stat = full.symlink_metadata().unwrap();
            let thing = if stat.is_dir() {
                waiting.push(below.clone());
                Thing::Directory
            } else if stat.is_symlink() {
                Thing::Link(fs::read_link(&full).unwrap())
            } else if stat.is_file() {
                Thing::File { mode: stat.mode() & 0o7777, content: fs::read(&full).unwrap() }
            } else {
                Thing::Other(stat.mode())
            };
            found.insert(below, thing);
        }
    }
    found
}

pub(crate) fn copy_repository(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for (below, thing) in snapshot(from) {
        let path = to.join(below);
        match thing {
            Thing::Directory => fs::create_dir(path).unwrap(),
            Thing::File { content, .. } => fs::write(path, content).unwrap(),
            Thing::Link(target) => symlink(target, path).unwrap(),
            Thing::Other(mode) => panic!("{mode:o}"),
        }
    }
}
