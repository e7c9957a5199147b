//! One store: its directory, its locks and its lists.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use libcomposefs_sys::beneath::open_beneath;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;

use super::lock::StorageLock;
use super::{StorageError, StoredImage, StoredLayer, parse_images, parse_layers};

/// Largest size of a list, in bytes.
const LIST_MAX: u64 = 256 << 20;

#[derive(Debug)]
pub(super) struct StorageRoot {
    pub(super) path: PathBuf,
    pub(super) directory: OwnedFd,
    pub(super) images: Vec<StoredImage>,
    pub(super) layers: HashMap<String, StoredLayer>,
    /// Held as long as files of the store are read.
    _locks: Vec<StorageLock>,
}

impl StorageRoot {
    pub(super) fn open(path: &Path, wait: &mut dyn FnMut() -> bool) -> Result<Self, StorageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            open(path, flags, Mode::empty()).map_err(|errno| io_error("open", path, "", io::Error::from(errno)))?;
        let mut locks = Vec::new();
        // The order of podman: layers, then images.
        for name in ["overlay-layers/layers.lock", "overlay-images/images.lock"] {
            locks.extend(StorageLock::shared(&directory, path, name, wait)?);
        }
        let images = read_file(&directory, path, IMAGES, LIST_MAX)?;
        let images = images.ok_or_else(|| StorageError::NoStorage(path.to_owned()))?;
        let images = parse_images(&images).map_err(|problem| damaged(path, IMAGES, problem))?;
        let mut layers = HashMap::new();
        for name in ["overlay-layers/layers.json", "overlay-layers/volatile-layers.json"] {
            let Some(list) = read_file(&directory, path, name, LIST_MAX)? else { continue };
            let list = parse_layers(&list).map_err(|problem| damaged(path, name, problem))?;
            layers.extend(list.into_iter().map(|layer| (layer.id.clone(), layer)));
        }
        Ok(Self { path: path.to_owned(), directory, images, layers, _locks: locks })
    }
}

const IMAGES: &str = "overlay-images/images.json";

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
