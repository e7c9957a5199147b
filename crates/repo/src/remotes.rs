//! The remotes that a repository knows by names (`docs/format/repository.md`, section 1).

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;
use std::sync::Arc;

use libcomposefs_sys::resolve_beneath::open_beneath;
use libcomposefs_sys::tempfile::Temporary;
use rustix::fs::{AtFlags, Dir, fsync, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::layout::REMOTES;
use crate::{Repository, RepositoryError, io_error};

/// Most bytes of the file of a remote.
const FILE_MAX: u64 = 64 << 10;
/// Most bytes of a name.
const NAME_MAX: usize = 64;

/// Name of a remote: ASCII letters, digits, `-`, `_` and `.`, of which a dot is not the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteName(String);

/// Error of a string that cannot be the name of a remote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot name a remote: use 1 to 64 ASCII letters, digits, `-`, `_` or `.`, of which a dot is not the first; \
     a directory is written with `/` or `./`"
)]
pub struct InvalidRemoteName(String);

impl FromStr for RemoteName {
    type Err = InvalidRemoteName;

    fn from_str(name: &str) -> Result<Self, InvalidRemoteName> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = !name.is_empty() && name.len() <= NAME_MAX && !name.starts_with('.') && name.bytes().all(is_good);
        if is_name { Ok(Self(name.to_owned())) } else { Err(InvalidRemoteName(name.chars().take(100).collect())) }
    }
}

impl RemoteName {
    /// Returns the name as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Error of an operation on the names of remotes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteNameError {
    /// The repository has no such remote.
    #[error(
        "{} has no remote {name}: `composefs remote list` shows all, `composefs remote add` adds one",
        path.display()
    )]
    NoSuchRemote {
        /// Name of the remote.
        name: RemoteName,
        /// Path of the repository.
        path: std::path::PathBuf,
    },
    /// The repository has a remote of this name.
    #[error("{} has a remote {name}: remove it first with `composefs remote remove {name}`", path.display())]
    Exists {
        /// Name of the remote.
        name: RemoteName,
        /// Path of the repository.
        path: std::path::PathBuf,
    },
    /// The file of the remote is damaged.
    #[error("the remote {name} of {} is damaged: {source}; remove it and add it again", path.display())]
    Damaged {
        /// Name of the remote.
        name: RemoteName,
        /// Path of the repository.
        path: std::path::PathBuf,
        /// The reason.
        source: serde_json::Error,
    },
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// A remote, as the repository has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RemoteEntry {
    /// Location of the remote: a URL, or the absolute path of a directory.
    pub url: String,
}

impl RemoteEntry {
    /// Makes an entry for a location.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }
}

impl Repository {
    /// Lists the names of the remotes, sorted.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn remotes(&self) -> Result<Vec<RemoteName>, RepositoryError> {
        let Some(directory) = self.dir.open_dir(REMOTES)? else { return Ok(Vec::new()) };
        let failed = |errno: Errno| io_error("read the directory", self.dir.path.join(REMOTES))(errno);
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_str().ok().map(str::parse);
            names.extend(name.and_then(Result::ok));
        }
        names.sort();
        Ok(names)
    }

    /// Returns a remote by its name.
    ///
    /// # Errors
    ///
    /// [`RemoteNameError`]
    pub fn remote(&self, name: &RemoteName) -> Result<RemoteEntry, RemoteNameError> {
        let path = || self.dir.path.clone();
        let file = format!("{REMOTES}/{name}");
        let failed = |error: io::Error| RepositoryError::Io { step: "read", path: path().join(&file), source: error };
        let opened = match open_beneath(self.dir.as_fd(), file.as_bytes()) {
            Err(Errno::NOENT) => return Err(RemoteNameError::NoSuchRemote { name: name.clone(), path: path() }),
            result => File::from(result.map_err(|errno| failed(errno.into()))?),
        };
        let mut text = Vec::new();
        opened.take(FILE_MAX).read_to_end(&mut text).map_err(failed)?;
        let damaged = |source| RemoteNameError::Damaged { name: name.clone(), path: path(), source };
        serde_json::from_slice(&text).map_err(damaged)
    }

    /// Adds a remote. It is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`RemoteNameError`]
    pub fn add_remote(&self, name: &RemoteName, entry: &RemoteEntry) -> Result<(), RemoteNameError> {
        self.expect_writable()?;
        let directory: Arc<OwnedFd> = Arc::new(self.dir.make_dir(REMOTES)?);
        let path = self.dir.path.join(REMOTES).join(name.as_str());
        let failed = |source: io::Error| RepositoryError::Io { step: "write", path: path.clone(), source };
        let mut text = serde_json::to_vec_pretty(entry).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let mut temporary = Temporary::create(&directory, 0o644).map_err(failed)?;
        let mut file = File::from(temporary.as_fd().try_clone_to_owned().map_err(failed)?);
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        match temporary.link(directory.as_fd(), name.as_str()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(RemoteNameError::Exists { name: name.clone(), path: self.dir.path.clone() });
            }
            result => result.map_err(failed)?,
        }
        Ok(fsync(&*directory).map_err(|errno| failed(errno.into()))?)
    }

    /// Removes a remote from the repository. The remote itself stays what it is.
    ///
    /// # Errors
    ///
    /// [`RemoteNameError`]
    pub fn remove_remote(&self, name: &RemoteName) -> Result<(), RemoteNameError> {
        self.expect_writable()?;
        let no_such = || RemoteNameError::NoSuchRemote { name: name.clone(), path: self.dir.path.clone() };
        let directory = self.dir.open_dir(REMOTES)?.ok_or_else(no_such)?;
        let failed = |errno: Errno| io_error("remove", self.dir.path.join(REMOTES).join(name.as_str()))(errno);
        match unlinkat(&directory, name.as_str(), AtFlags::empty()) {
            Err(Errno::NOENT) => return Err(no_such()),
            result => result.map_err(failed)?,
        }
        Ok(fsync(&directory).map_err(failed)?)
    }
}

#[cfg(test)]
mod tests {
    use libcomposefs_image::Algorithm;

    use super::*;
    use crate::{Format, Settings};

    #[test]
    fn names_are_file_names() {
        for good in ["a", "backup", "site-2.example_x"] {
            assert_eq!(good.parse::<RemoteName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".a", "a/b", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert!(bad.parse::<RemoteName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn remotes_are_added_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::default() };
        let (repository, _) = Repository::init(&dir.path().join("repository"), settings).unwrap();
        let (name, entry) = ("backup".parse::<RemoteName>().unwrap(), RemoteEntry::new("/srv/remote"));
        assert!(repository.remotes().unwrap().is_empty());
        assert!(matches!(repository.remote(&name), Err(RemoteNameError::NoSuchRemote { .. })));
        assert!(matches!(repository.remove_remote(&name), Err(RemoteNameError::NoSuchRemote { .. })));
        repository.add_remote(&name, &entry).unwrap();
        assert!(matches!(repository.add_remote(&name, &entry), Err(RemoteNameError::Exists { .. })));
        assert_eq!(repository.remotes().unwrap(), std::slice::from_ref(&name));
        assert_eq!(repository.remote(&name).unwrap(), entry);
        std::fs::write(repository.path().join("remotes/backup"), "{").unwrap();
        assert!(matches!(repository.remote(&name), Err(RemoteNameError::Damaged { .. })));
        repository.remove_remote(&name).unwrap();
        assert!(repository.remotes().unwrap().is_empty());
    }
}
