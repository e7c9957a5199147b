//! Sources of the right contents for a repair.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use libcomposefs_content::{ContentSink, NoProgress, SinkError, SourceFile, digest_pieces};
use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_scan::{self as scan, scan};
use libcomposefs_sys::copy::READ_SIZE;
use rustix::fs::{FileType, fstat};

use crate::{RefName, Repository, RepositoryError};
use libcomposefs_store::Batch;
use libcomposefs_store::ObjectDir;
use libcomposefs_store::StorePolicy;

/// A directory that may have missing contents.
#[derive(Debug)]
pub enum RepairSource {
    /// Another repository.
    Repository(Box<Repository>),
    /// A directory of objects.
    Objects(Box<ObjectDir>),
    /// A directory tree, such as the one that an image was made of.
    Tree(PathBuf),
}

impl RepairSource {
    /// Finds out what kind of source a directory is.
    ///
    /// # Errors
    ///
    /// If it is a repository of the other algorithm, or cannot be opened.
    pub fn open(path: &Path, algorithm: Algorithm) -> Result<Self, RepositoryError> {
        match Repository::open(path) {
            Ok(other) if other.algorithm() == algorithm => return Ok(RepairSource::Repository(Box::new(other))),
            Ok(other) => {
                return Err(RepositoryError::Algorithm {
                    path: path.to_owned(),
                    found: other.algorithm(),
                    repository: path.to_owned(),
                    expected: algorithm,
                });
            }
            Err(RepositoryError::NotARepository { .. }) => {}
            Err(error) => return Err(error),
        }
        let objects = ObjectDir::open(path, algorithm, StorePolicy::default())?;
        let has_any = objects.list().next().is_some();
        Ok(if has_any { RepairSource::Objects(Box::new(objects)) } else { RepairSource::Tree(path.to_owned()) })
    }

    /// Returns the image that another repository has under a name.
    pub(super) fn image_of(&self, name: &RefName) -> Option<Digest> {
        match self {
            RepairSource::Repository(other) => other.read_ref(name).ok().flatten(),
            RepairSource::Objects(_) | RepairSource::Tree(_) => None,
        }
    }

    /// Stores the wanted objects that this source has, and removes them from the set.
    pub(super) fn fetch(&self, wanted: &mut HashSet<Digest>, batch: &Batch<'_>) -> Result<(), RepositoryError> {
        match self {
            RepairSource::Repository(other) => fetch_objects(other.objects(), wanted, batch),
            RepairSource::Objects(objects) => fetch_objects(objects, wanted, batch),
            RepairSource::Tree(path) => {
                let sink = WantedSink { algorithm: batch.store().algorithm(), wanted: Mutex::new(wanted), batch };
                let (algorithm, follow_root) = (sink.algorithm, true);
                let options = scan::Options { algorithm, follow_root, ..scan::Options::default() };
                scan(path, &options, &sink, &NoProgress)?;
                Ok(())
            }
        }
    }
}

fn fetch_objects(objects: &ObjectDir, wanted: &mut HashSet<Digest>, batch: &Batch<'_>) -> Result<(), RepositoryError> {
    let mut all: Vec<Digest> = wanted.iter().copied().collect();
    all.sort_unstable();
    for digest in all {
        // An object that cannot be read counts as missing.
        if let Ok(Some(file)) = objects.open_object(&digest)
            && put_if(&digest, file.as_fd(), batch)?
        {
            wanted.remove(&digest);
        }
    }
    Ok(())
}

/// Stores the content of a file, if it has this digest. Returns whether it has.
pub(super) fn put_if(digest: &Digest, file: BorrowedFd<'_>, batch: &Batch<'_>) -> Result<bool, RepositoryError> {
    let is_regular = fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let mut buffer = vec![0; READ_SIZE];
    if !is_regular || digest_pieces(file, digest.algorithm(), &mut buffer).ok() != Some(*digest) {
        return Ok(false);
    }
    let Ok(source) = SourceFile::of(file) else { return Ok(false) };
    Ok(batch.put_file(&source, &mut buffer)?.0 == *digest)
}

/// A sink that stores the wanted contents of a tree.
struct WantedSink<'w, 'b, 's> {
    algorithm: Algorithm,
    wanted: Mutex<&'w mut HashSet<Digest>>,
    batch: &'b Batch<'s>,
}

impl WantedSink<'_, '_, '_> {
    fn takes(&self, digest: &Digest) -> bool {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).remove(digest)
    }
}

impl ContentSink for WantedSink<'_, '_, '_> {
    fn take_small(&self, content: &[u8], digest: &Digest) -> Result<(), SinkError> {
        if self.takes(digest) {
            self.batch.put_bytes(content)?;
        }
        Ok(())
    }

    fn whole_max(&self) -> usize {
        1 << 20
    }

    fn take_bytes(&self, content: &[u8], _: &SourceFile<'_>) -> Result<Digest, SinkError> {
        let digest = verity::digest(self.algorithm, content);
        self.take_small(content, &digest)?;
        Ok(digest)
    }

    fn take_file(&self, source: &SourceFile<'_>, buffer: &mut [u8]) -> Result<Digest, SinkError> {
        let digest = digest_pieces(source.file, self.algorithm, buffer)?;
        if self.takes(&digest) {
            self.batch.put_file(source, buffer)?;
        }
        Ok(digest)
    }
}

/// Stores wanted contents of files in the repository itself that have wrong names.
pub(super) fn fetch_misnamed(
    repository: &Repository,
    misnamed: &HashMap<Digest, PathBuf>,
    wanted: &mut HashSet<Digest>,
    batch: &Batch<'_>,
) -> Result<(), RepositoryError> {
    for (digest, path) in misnamed {
        if !wanted.contains(digest) {
            continue;
        }
        let opened = libcomposefs_sys::resolve_beneath::open_beneath(
            repository.dir.as_fd(),
            path.as_os_str().as_encoded_bytes(),
        );
        if let Ok(file) = opened
            && put_if(digest, file.as_fd(), batch)?
        {
            wanted.remove(digest);
        }
    }
    Ok(())
}
