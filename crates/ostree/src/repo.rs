//! An open repository: refs and objects.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use libcomposefs_sys::resolve_beneath::{open_beneath, open_directory_beneath};
use rustix::fs::{Mode as Permissions, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::config::{Config, Mode};
use crate::error::Error;
use crate::id::Id;
use crate::objects::{CommitObject, ed25519_signatures};

/// The largest metadata object, the same as in ostree.
pub(crate) const MAX_METADATA: u64 = 128 << 20;
/// The largest config or ref: a few lines are normal.
const MAX_TEXT: u64 = 1 << 20;
/// Extension of the detached metadata of a commit, which no checksum covers.
const DETACHED: &str = "commitmeta";
/// The longest detached metadata: signatures.
const MAX_DETACHED: u64 = 1 << 20;
/// The longest chain of parent repositories.
const MAX_PARENTS: u32 = 16;

/// An open ostree repository.
#[derive(Debug)]
pub struct Repo {
    path: PathBuf,
    dir: OwnedFd,
    pub(crate) objects: OwnedFd,
    pub(crate) mode: Mode,
    parent: Option<Box<Repo>>,
}

/// A commit read from a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Checksum that names the commit.
    pub id: Id,
    /// The fields of the commit.
    pub object: CommitObject,
}

/// A commit with its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCommit {
    /// The bytes of the commit, which have the checksum that names it: what is signed.
    pub bytes: Vec<u8>,
    /// The Ed25519 signatures in the detached metadata.
    pub signatures: Vec<Vec<u8>>,
}

impl Repo {
    /// Opens a repository.
    ///
    /// # Errors
    ///
    /// The directory is not a repository, or has an unsupported mode.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with_parents(path, MAX_PARENTS)
    }

    fn open_with_parents(path: &Path, parents: u32) -> Result<Self, Error> {
        let not = |reason: String| Error::NotARepository { path: path.to_owned(), reason };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Permissions::empty()).map_err(|errno| Error::io(path, errno))?;
        let config = match read_text(&dir, path, "config")? {
            Some(text) => Config::parse(&text).map_err(|reason| not(format!("config: {reason}")))?,
            None => return Err(not("no file config: not an ostree repository".into())),
        };
        let objects =
            open_directory_beneath(dir.as_fd(), b"objects").map_err(|errno| Error::io(path.join("objects"), errno))?;
        let parent = match config.parent {
            Some(_) if parents == 0 => {
                return Err(not(format!("more than {MAX_PARENTS} parent repositories")));
            }
            Some(parent) => Some(Box::new(Self::open_with_parents(&path.join(parent), parents - 1)?)),
            None => None,
        };
        Ok(Self { path: path.to_owned(), dir, objects, mode: config.mode, parent })
    }

    /// Returns this repository and its parents.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &Repo> {
        std::iter::successors(Some(self), |repo| repo.parent.as_deref())
    }

    /// Returns the path of an object, for messages.
    pub(crate) fn path_of(&self, id: &Id, extension: &str) -> PathBuf {
        self.path.join("objects").join(id.path(extension))
    }

    /// Resolves a branch (`NAME` or `REMOTE:NAME`) or a checksum to a commit.
    ///
    /// # Errors
    ///
    /// [`Error::NoRef`], or the ref cannot be read.
    pub fn resolve(&self, name: &str) -> Result<Id, Error> {
        if let Some(id) = Id::from_hex(name) {
            return Ok(id);
        }
        let paths = match name.split_once(':') {
            Some((remote, name)) => vec![format!("refs/remotes/{remote}/{name}")],
            None => vec![format!("refs/heads/{name}"), format!("refs/remotes/{name}")],
        };
        let is_name = |path: &str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        for path in paths.iter().filter(|path| is_name(path)) {
            if let Some(text) = read_text(&self.dir, &self.path, path)? {
                let id = Id::from_hex(text.trim_end());
                return id
                    .ok_or_else(|| Error::malformed(self.path.join(path), "a ref must be a checksum of 64 digits"));
            }
        }
        Err(Error::NoRef { path: self.path.clone(), name: name.to_owned() })
    }

    /// Reads a commit object.
    ///
    /// # Errors
    ///
    /// The object is missing, damaged, or not a commit.
    pub fn commit(&self, id: &Id) -> Result<Commit, Error> {
        let bytes = self.metadata(id, "commit", MAX_METADATA)?;
        let object = CommitObject::parse(&bytes).map_err(|reason| self.malformed(id, "commit", reason))?;
        Ok(Commit { id: *id, object })
    }

    /// Reads what Ed25519 signatures of a commit are made of (`ostree sign --sign-type=ed25519`). None of them is
    /// verified.
    ///
    /// # Errors
    ///
    /// The commit is missing or damaged, or its detached metadata are malformed.
    pub fn signed_commit(&self, id: &Id) -> Result<SignedCommit, Error> {
        let bytes = self.metadata(id, "commit", MAX_METADATA)?;
        let name = id.path(DETACHED);
        for repo in self.chain() {
            let Some(file) = repo.open_object(&name)? else { continue };
            let path = || repo.path_of(id, DETACHED);
            let mut detached = Vec::new();
            file.take(MAX_DETACHED + 1).read_to_end(&mut detached).map_err(|error| Error::io(path(), error))?;
            if detached.len() as u64 > MAX_DETACHED {
                return Err(Error::malformed(path(), format!("more than {MAX_DETACHED} bytes of detached metadata")));
            }
            let signatures = ed25519_signatures(&detached).map_err(|reason| Error::malformed(path(), reason))?;
            return Ok(SignedCommit { bytes, signatures });
        }
        Ok(SignedCommit { bytes, signatures: Vec::new() })
    }

    pub(crate) fn malformed(&self, id: &Id, extension: &str, reason: String) -> Error {
        Error::malformed(self.path_of(id, extension), reason)
    }

    /// Reads a metadata object of at most `limit` bytes.
    pub(crate) fn metadata(&self, id: &Id, extension: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let name = id.path(extension);
        for repo in self.chain() {
            let Some(file) = repo.open_object(&name)? else { continue };
            let path = || repo.path_of(id, extension);
            let mut bytes = Vec::new();
            file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| Error::io(path(), error))?;
            if bytes.len() as u64 > limit {
                return Err(Error::malformed(path(), format!("more than {limit} bytes of metadata")));
            }
            let found = Id::new(Sha256::digest(&bytes).into());
            return if found == *id { Ok(bytes) } else { Err(Error::WrongId { path: path(), found }) };
        }
        Err(Error::io(self.path_of(id, extension), Errno::NOENT))
    }

    /// Opens an object that is a file, for reading.
    pub(crate) fn open_object(&self, name: &str) -> Result<Option<File>, Error> {
        match open_beneath(self.objects.as_fd(), name.as_bytes()) {
            Ok(file) => Ok(Some(file.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::io(self.path.join("objects").join(name), errno)),
        }
    }
}

/// Reads a small file below the repository; `None` if it does not exist.
fn read_text(dir: &OwnedFd, root: &Path, name: &str) -> Result<Option<String>, Error> {
    let failed = |error: std::io::Error| Error::io(root.join(name), error);
    let file = match open_beneath(dir.as_fd(), name.as_bytes()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(failed(errno.into())),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Ok(None);
    }
    let mut text = String::new();
    file.take(MAX_TEXT).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}
