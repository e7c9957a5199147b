//! The directory `partial`: a file for each partial image, named by its digest, and `refs` with the names.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use libcomposefs_image::Digest;
use libcomposefs_sys::resolve_beneath::open_beneath;
use libcomposefs_sys::tempfile::Temporary;
use rustix::fs::{AtFlags, Dir, FileType, fstat, fsync, statat, unlinkat};
use rustix::io::Errno;

use super::entry::PartialEntry;
use crate::dir::RepoDir;
use crate::{RepositoryError, io_error, layout};

/// Most bytes of an entry that are read: the document of a ref has 1 MiB at most.
const ENTRY_MAX: u64 = 8 << 20;
/// Mode of the files, less the umask. The mode of the repository itself keeps other users out.
const FILE_MODE: u32 = 0o644;

/// The directory `partial` of a repository. The lock of the repository is the lock of this directory too.
#[derive(Debug)]
pub(super) struct PartialDir {
    directory: Arc<OwnedFd>,
    path: PathBuf,
}

impl PartialDir {
    /// Opens the directory; `None` if no image was ever partial.
    pub(super) fn open(dir: &RepoDir) -> Result<Option<Self>, RepositoryError> {
        let path = dir.path.join(layout::PARTIAL);
        Ok(dir.open_dir(layout::PARTIAL)?.map(|directory| Self { directory: Arc::new(directory), path }))
    }

    /// Opens the directory, and makes it if it is missing.
    pub(super) fn make(dir: &RepoDir) -> Result<Self, RepositoryError> {
        let path = dir.path.join(layout::PARTIAL);
        Ok(Self { directory: Arc::new(dir.make_dir(layout::PARTIAL)?), path })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(super) fn entry_path(&self, image: &Digest) -> PathBuf {
        self.path.join(image.to_hex())
    }

    /// Returns true if an image has an entry, which may be damaged.
    pub(super) fn has(&self, image: &Digest) -> Result<bool, RepositoryError> {
        match statat(self.fd(), image.to_hex(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(io_error("stat", self.entry_path(image))(errno)),
        }
    }

    /// Reads the entry of an image; `None` if the image is not partial.
    pub(super) fn entry(&self, image: &Digest) -> Result<Option<PartialEntry>, RepositoryError> {
        let path = self.entry_path(image);
        let wrong = |reason: String| RepositoryError::PartialEntry { path: path.clone(), reason };
        let file = match open_beneath(self.fd(), image.to_hex().as_bytes()) {
            Err(Errno::NOENT) => return Ok(None),
            // A symlink, which is not followed.
            Err(Errno::LOOP) => return Err(wrong("it is no regular file".into())),
            result => result.map_err(io_error("open", &path))?,
        };
        let stat = fstat(&file).map_err(io_error("stat", &path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(wrong("it is no regular file".into()));
        }
        let mut text = Vec::new();
        File::from(file).take(ENTRY_MAX + 1).read_to_end(&mut text).map_err(io_error("read", &path))?;
        if text.len() as u64 > ENTRY_MAX {
            return Err(wrong(format!("it has more than {ENTRY_MAX} bytes")));
        }
        PartialEntry::parse(&text).map(Some).map_err(wrong)
    }

    /// Writes the entry of an image, or replaces it. It is on disk when this returns.
    pub(super) fn write(&self, image: &Digest, entry: &PartialEntry) -> Result<(), RepositoryError> {
        let path = self.entry_path(image);
        let text = Temporary::create(&self.directory, FILE_MODE).map_err(io_error("make a file in", &self.path))?;
        let mut file = File::from(text.as_fd().try_clone_to_owned().map_err(io_error("open", &path))?);
        file.write_all(entry.to_text().as_bytes()).map_err(io_error("write", &path))?;
        file.sync_all().map_err(io_error("sync", &path))?;
        text.replace(self.fd(), image.to_hex()).map_err(io_error("name", &path))?;
        fsync(self.fd()).map_err(io_error("sync the directory of", &path))
    }

    /// Removes a file, if it exists.
    pub(super) fn remove(&self, name: &str) -> Result<(), RepositoryError> {
        match unlinkat(self.fd(), name, AtFlags::empty()) {
            Ok(()) => fsync(self.fd()).map_err(io_error("sync", &self.path)),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(io_error("remove", self.path.join(name))(errno)),
        }
    }

    /// Lists the names in the directory.
    pub(super) fn names(&self) -> Result<Vec<String>, RepositoryError> {
        let mut names = Vec::new();
        for entry in Dir::read_from(self.fd()).map_err(io_error("list", &self.path))? {
            let entry = entry.map_err(io_error("list", &self.path))?;
            names.extend(entry.file_name().to_str().ok().map(str::to_owned));
        }
        Ok(names)
    }
}
