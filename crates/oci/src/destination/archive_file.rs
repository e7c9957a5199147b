//! A tar archive in the making, which gets its name when it is complete.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use libcomposefs_sys::tempfile::Temporary;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fsync, openat, statat};
use rustix::io::Errno;

use super::hashed_copy::copy_hashed;
use super::tar_header::{file_header, padding};
use super::{BlobContent, DestinationError};
use crate::BlobDigest;

/// The archive: a temporary file in the directory of its name.
#[derive(Debug)]
pub(super) struct ArchiveFile {
    directory: Arc<OwnedFd>,
    name: OsString,
    path: String,
    /// Set if the archive may replace another file.
    replaces: bool,
    temporary: Temporary,
    out: BufWriter<File>,
}

impl ArchiveFile {
    /// Begins an archive. `replaces` allows it to replace a regular file.
    pub(super) fn create(path: &Path, replaces: bool) -> Result<Self, DestinationError> {
        let shown = path.display().to_string();
        let failed = |error: io::Error| DestinationError::Io { path: shown.clone(), source: error };
        let name = path.file_name().ok_or_else(|| DestinationError::NoFile(shown.clone()))?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, parent, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        match statat(&directory, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno.into())),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                return Err(DestinationError::NoFile(shown));
            }
            Ok(_) if replaces => {}
            Ok(_) => return Err(DestinationError::Exists(shown)),
        }
        let directory = Arc::new(directory);
        let temporary = Temporary::create(&directory, 0o666).map_err(failed)?;
        let file = temporary.as_fd().try_clone_to_owned().map_err(failed)?;
        let out = BufWriter::with_capacity(1 << 20, File::from(file));
        Ok(Self { directory, name, path: shown, replaces, temporary, out })
    }

    /// Appends a file whose content has this size and digest.
    pub(super) fn append(
        &mut self,
        name: &str,
        digest: &BlobDigest,
        size: u64,
        content: &dyn BlobContent,
    ) -> Result<(), DestinationError> {
        let failed = |path: &str, source| DestinationError::Io { path: path.to_owned(), source };
        self.out.write_all(&file_header(name, size)).map_err(|error| failed(&self.path, error))?;
        copy_hashed(content, digest, size, &mut self.out, &self.path)?;
        self.out.write_all(&[0; 512][..padding(size)]).map_err(|error| failed(&self.path, error))
    }

    /// Appends a small file.
    pub(super) fn append_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), DestinationError> {
        self.append(name, &BlobDigest::of(bytes), bytes.len() as u64, &bytes)
    }

    /// Ends the archive, and gives it its name when it is on disk.
    pub(super) fn publish(mut self) -> Result<(), DestinationError> {
        let path = self.path.clone();
        let failed = |source: io::Error| match Errno::from_io_error(&source) {
            Some(Errno::EXIST) => DestinationError::Exists(path.clone()),
            _ => DestinationError::Io { path: path.clone(), source },
        };
        self.out.write_all(&[0; 1024]).and_then(|()| self.out.flush()).map_err(failed)?;
        fsync(&self.temporary).map_err(|errno| failed(errno.into()))?;
        if self.replaces {
            self.temporary.replace(self.directory.as_fd(), self.name.as_os_str()).map_err(failed)?;
        } else {
            self.temporary.link(self.directory.as_fd(), self.name.as_os_str()).map_err(failed)?;
        }
        fsync(&self.directory).map_err(|errno| failed(errno.into()))
    }
}
