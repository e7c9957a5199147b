//! The directory `cold`, locked: entries, packs and names are written and removed by one process at a time.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use libcomposefs_image::Digest;
use libcomposefs_sys::resolve_beneath::open_beneath;
use libcomposefs_sys::tempfile::Temporary;
use rustix::fs::{AtFlags, FileType, FlockOperation, flock, fstat, fsync, unlinkat};
use rustix::io::Errno;

use super::entry::ColdEntry;
use super::error::ColdError;
use crate::dir::RepoDir;
use crate::lock::cannot_lock;
use crate::wait::LockMode;
use crate::{RefName, RepositoryError, io_error, layout};

/// Most bytes of an entry that are read.
const ENTRY_MAX: u64 = 64 << 10;
/// Mode of the files, less the umask. The mode of the repository itself keeps other users out.
const FILE_MODE: u32 = 0o644;

/// The directory `cold` of a repository.
#[derive(Debug)]
pub(super) struct ColdDir {
    directory: Arc<OwnedFd>,
    path: PathBuf,
}

/// The directory `cold`, with its lock.
#[derive(Debug)]
pub(super) struct LockedCold(ColdDir);

impl ColdDir {
    /// Opens the directory; `None` if no image was ever cold.
    pub(super) fn open(dir: &RepoDir) -> Result<Option<Self>, RepositoryError> {
        let path = dir.path.join(layout::COLD);
        Ok(dir.open_dir(layout::COLD)?.map(|directory| Self { directory: Arc::new(directory), path }))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(super) fn entry_path(&self, image: &Digest) -> PathBuf {
        self.path.join(image.to_hex())
    }

    pub(super) fn pack_path(&self, image: &Digest) -> PathBuf {
        self.path.join(pack_name(image))
    }

    /// Reads the entry of an image; `None` if the image is not cold.
    pub(super) fn entry(&self, image: &Digest) -> Result<Option<ColdEntry>, ColdError> {
        let path = self.entry_path(image);
        let Some(file) = self.open_file(&image.to_hex(), &path)? else { return Ok(None) };
        let mut text = Vec::new();
        let read = file.take(ENTRY_MAX + 1).read_to_end(&mut text);
        read.map_err(|source| RepositoryError::Io { step: "read", path: path.clone(), source })?;
        let entry = match text.len() as u64 {
            ..=ENTRY_MAX => ColdEntry::parse(&text, image.algorithm()),
            _ => Err(format!("it has more than {ENTRY_MAX} bytes")),
        };
        entry.map(Some).map_err(|reason| ColdError::Entry { path, reason })
    }

    /// Opens the pack of an image, which must have the size that the entry says.
    pub(super) fn open_pack(&self, image: &Digest, entry: &ColdEntry) -> Result<File, ColdError> {
        let path = self.pack_path(image);
        let wrong = |reason: String| ColdError::Entry { path: path.clone(), reason };
        let file = self.open_file(&pack_name(image), &path)?.ok_or_else(|| wrong("it is missing".into()))?;
        let size = fstat(&file).map_err(io_error("stat", &path))?.st_size;
        if u64::try_from(size).ok() == Some(entry.pack_size) {
            return Ok(file);
        }
        Err(wrong(format!("it has {size} bytes instead of {}: it is damaged", entry.pack_size)))
    }

    fn open_file(&self, name: &str, path: &std::path::Path) -> Result<Option<File>, ColdError> {
        let file = match open_beneath(self.fd(), name.as_bytes()) {
            Err(Errno::NOENT) => return Ok(None),
            result => result.map_err(io_error("open", path))?,
        };
        let stat = fstat(&file).map_err(io_error("stat", path))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some(File::from(file))),
            _ => Err(ColdError::Entry { path: path.to_owned(), reason: "it is no regular file".into() }),
        }
    }
}

impl LockedCold {
    /// Makes the directory if it is missing, and waits for other processes that change it.
    pub(super) fn lock(dir: &RepoDir) -> Result<Self, RepositoryError> {
        let directory = dir.make_dir(layout::COLD)?;
        let path = dir.path.join(layout::COLD);
        dir.wait.lock(&directory, LockMode::Exclusive, &path).map_err(cannot_lock(&path))?;
        Ok(Self(ColdDir { directory: Arc::new(directory), path }))
    }

    /// Locks the directory; `None` if it does not exist, or another process has locked it.
    pub(super) fn try_lock(dir: &RepoDir) -> Result<Option<Self>, RepositoryError> {
        let Some(cold) = ColdDir::open(dir)? else { return Ok(None) };
        match flock(&*cold.directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(cold))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(io_error("lock", &cold.path)(errno)),
        }
    }

    /// Makes a file without a name.
    pub(super) fn temporary(&self) -> Result<Temporary, RepositoryError> {
        Temporary::create(&self.0.directory, FILE_MODE).map_err(|source| RepositoryError::Io {
            step: "make a file in",
            path: self.0.path.clone(),
            source,
        })
    }

    /// Gives a pack its name, and then the entry of its image. Both are on disk when this returns.
    pub(super) fn publish(&self, image: &Digest, pack: Temporary, entry: &ColdEntry) -> Result<(), RepositoryError> {
        let path = self.0.entry_path(image);
        let failed = |step| {
            let path = path.clone();
            move |source| RepositoryError::Io { step, path, source }
        };
        let text = self.temporary()?;
        let mut file = File::from(text.as_fd().try_clone_to_owned().map_err(failed("open"))?);
        std::io::Write::write_all(&mut file, entry.to_text().as_bytes()).map_err(failed("write"))?;
        file.sync_all().map_err(failed("sync"))?;
        pack.replace(self.0.fd(), pack_name(image)).map_err(failed("name the pack of"))?;
        fsync(self.0.fd()).map_err(io_error("sync the directory of", &path))?;
        text.replace(self.0.fd(), image.to_hex()).map_err(failed("name"))?;
        fsync(self.0.fd()).map_err(io_error("sync the directory of", &path))
    }

    /// Removes the entry of an image, and then its pack.
    pub(super) fn remove(&self, image: &Digest) -> Result<(), RepositoryError> {
        self.remove_file(&image.to_hex())?;
        fsync(self.0.fd()).map_err(io_error("sync", &self.0.path))?;
        self.remove_file(&pack_name(image))
    }

    /// Removes a file, if it exists.
    pub(super) fn remove_file(&self, name: &str) -> Result<(), RepositoryError> {
        match unlinkat(self.0.fd(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(io_error("remove", self.0.path.join(name))(errno)),
        }
    }
}

impl std::ops::Deref for LockedCold {
    type Target = ColdDir;

    fn deref(&self) -> &ColdDir {
        &self.0
    }
}

/// Suffix of the names of packs.
pub(super) const PACK: &str = ".pack";

fn pack_name(image: &Digest) -> String {
    format!("{}{PACK}", image.to_hex())
}

/// Returns the ref that keeps the base of a cold image, for every program that knows refs.
pub(super) fn base_ref(image: &Digest) -> RefName {
    RefName::new(format!("{}/{}", layout::COLD_BASES, image.to_hex())).expect("digits are valid in a name")
}

/// Returns true if a ref keeps the base of a cold image.
#[must_use]
pub fn is_base_name(name: &RefName) -> bool {
    cold_image_of(name).is_some()
}

/// Returns the cold image whose base a ref keeps, if it is such a ref.
pub(super) fn cold_image_of(name: &RefName) -> Option<Digest> {
    let hex = name.as_str().strip_prefix(layout::COLD_BASES)?.strip_prefix('/')?;
    Digest::from_hex(hex).ok().filter(|digest| digest.to_hex() == hex)
}
