//! Opening and reading files of a store.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use libcomposefs_sys::resolve_beneath::open_beneath;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::StorageError;

pub(super) fn io_error(step: &'static str, root: &Path, name: &str, source: io::Error) -> StorageError {
    StorageError::Io { step, path: root.join(name), source }
}

pub(super) fn damaged(root: &Path, name: &str, problem: String) -> StorageError {
    StorageError::Damaged { path: root.join(name), problem }
}

/// Opens a regular file of the store. Returns `None` if it does not exist.
pub(super) fn open_file(root: &OwnedFd, path: &Path, name: &str) -> Result<Option<OwnedFd>, StorageError> {
    let file = match open_beneath(root.as_fd(), name.as_bytes()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(io_error("open", path, name, errno.into())),
    };
    let stat = fstat(&file).map_err(|errno| io_error("stat", path, name, errno.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Some(file)),
        _ => Err(damaged(path, name, "it is no regular file".to_owned())),
    }
}

/// Reads a file of the store. Returns `None` if it does not exist.
pub(super) fn read_file(root: &OwnedFd, path: &Path, name: &str, limit: u64) -> Result<Option<Vec<u8>>, StorageError> {
    let Some(file) = open_file(root, path, name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = File::from(file).take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| io_error("read", path, name, error))?;
    if bytes.len() as u64 > limit {
        return Err(StorageError::TooLarge { path: path.join(name), limit });
    }
    Ok(Some(bytes))
}
