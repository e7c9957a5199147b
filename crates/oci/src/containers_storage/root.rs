//! One store: its directory, its locks and its lists.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use super::files::{damaged, io_error, read_file};
use super::lock::StorageLock;
use super::{StorageError, StorageImage, StorageLayer, parse_images, parse_layers};

/// Largest size of a list, in bytes.
const LIST_MAX: u64 = 256 << 20;

#[derive(Debug)]
pub(super) struct StorageRoot {
    pub(super) path: PathBuf,
    pub(super) directory: OwnedFd,
    pub(super) images: Vec<StorageImage>,
    pub(super) layers: HashMap<String, StorageLayer>,
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
