//! A tree under construction, with its objects and a target.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_content::NoProgress;
use libcomposefs_image::tree::{InodeId, NewInode, Timestamp, Tree, TreeBuilder};
use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_store::Basedirs;
use libcomposefs_store::extract::{ExtractError, ExtractReport, Options, Selection, extract};
use tempfile::TempDir;

pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

/// An inode that belongs to the user who runs the test.
pub(crate) fn inode(mode: u32) -> NewInode<'static> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    NewInode { mode, nlink: 1, uid, gid, mtime: Timestamp { sec: 1_600_000_000, nsec: 7 }, ..NewInode::default() }
}

pub(crate) fn directory() -> NewInode<'static> {
    inode(0o040755)
}

pub(crate) fn builder() -> TreeBuilder {
    TreeBuilder::new(Algorithm::Sha256, &directory()).unwrap()
}

/// A file whose content is an object.
pub(crate) fn external(digest: &Digest, size: usize) -> NewInode<'static> {
    NewInode { size: size as u64, digest: Some(*digest), is_object: true, ..inode(0o100644) }
}

/// A file whose content is in the tree.
pub(crate) fn inline(content: &[u8]) -> NewInode<'_> {
    NewInode { size: content.len() as u64, content: Some(content), ..inode(0o100644) }
}

pub(crate) fn symlink(target: &[u8]) -> NewInode<'_> {
    NewInode { payload: Some(target), ..inode(0o120777) }
}

/// Returns bytes without repetition.
pub(crate) fn noise(len: usize, seed: u32) -> Vec<u8> {
    (0..len as u32).map(|i| ((i ^ seed.wrapping_mul(77)).wrapping_mul(2_654_435_761) >> 23) as u8).collect()
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("objects")).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn object_path(&self, digest: &Digest) -> PathBuf {
        self.path("objects").join(digest.object_path())
    }

    /// Stores an object in the store.
    pub(crate) fn object(&self, content: &[u8]) -> Digest {
        let digest = verity::digest(Algorithm::Sha256, content);
        let path = self.object_path(&digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        digest
    }

    pub(crate) fn extract_to(
        &self,
        tree: &Tree,
        target: &Path,
        options: &Options,
    ) -> Result<ExtractReport, ExtractError> {
        let basedirs = Basedirs::open(&[self.path("objects")]).unwrap();
        extract(tree, &Selection::all(), &basedirs, target, options, &NoProgress)
    }

    /// Extracts to a new directory `out`.
    pub(crate) fn extract(&self, tree: &Tree) -> ExtractReport {
        self.extract_to(tree, &self.path("out"), &Options::default()).unwrap()
    }
}

/// A mounted tmpfs, unmounted at the end of the test.
pub(crate) struct Tmpfs(pub(crate) PathBuf);

impl Tmpfs {
    pub(crate) fn new(at: PathBuf, options: &str) -> Result<Self, String> {
        fs::create_dir(&at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at).output();
        let mount = mount.map_err(|error| error.to_string())?;
        if mount.status.success() { Ok(Self(at)) } else { Err(String::from_utf8_lossy(&mount.stderr).into_owned()) }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The names in a directory, in order.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Returns the paths of failures with their messages.
pub(crate) fn failures(outcome: &ExtractReport) -> Vec<(String, String)> {
    let text = |failure: &libcomposefs_store::extract::PathFailure| {
        (String::from_utf8_lossy(&failure.path).into_owned(), failure.error.to_string())
    };
    outcome.failures.iter().map(text).collect()
}

/// The ID of the root directory.
pub(crate) const ROOT: InodeId = InodeId::ROOT;
