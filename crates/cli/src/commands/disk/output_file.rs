//! The file or device that a disk is written to.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use libcomposefs_store::publish::publish_file;
use rustix::fs::OFlags;

use crate::error_text::with_remedy;

/// Where a disk goes.
pub(super) enum DiskOutput {
    /// A file, which gets its name last.
    File { path: PathBuf, replaces: bool },
    /// A block device, which no other program uses.
    Device { path: PathBuf, file: File, size: u64 },
}

/// Checks the operand. Nothing is written.
pub(super) fn output_file(path: &Path, force: bool, device: bool) -> anyhow::Result<DiskOutput> {
    let shown = path.display();
    let found = match std::fs::symlink_metadata(path) {
        Ok(_) => Some(std::fs::metadata(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot make {shown}")),
    };
    let is_device = |found: &Metadata| found.file_type().is_block_device();
    match found {
        None if device => bail!("{shown} is not a block device: --device is for block devices"),
        None => Ok(DiskOutput::File { path: path.to_owned(), replaces: false }),
        Some(Ok(found)) if is_device(&found) && device => open_device(path),
        Some(Ok(found)) if is_device(&found) => {
            Err(with_remedy(format!("{shown} is a block device"), "--device overwrites everything on it"))
        }
        Some(_) if device => bail!("{shown} is not a block device: --device is for block devices"),
        Some(Ok(found)) if !found.is_file() => bail!("cannot make {shown}: something else than a file has that name"),
        Some(Ok(_)) if force => Ok(DiskOutput::File { path: path.to_owned(), replaces: true }),
        Some(_) => Err(with_remedy(format!("{shown} exists"), "use another name, or --force to replace it")),
    }
}

fn open_device(path: &Path) -> anyhow::Result<DiskOutput> {
    let shown = path.display();
    // Exclusive means for a device: neither mounted nor used in another way.
    let flags = OFlags::EXCL.bits().cast_signed();
    let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::ResourceBusy => with_remedy(format!("cannot write {shown}: {error}"), "unmount it"),
        _ => anyhow::Error::new(error).context(format!("cannot write {shown}")),
    })?;
    let size = file.seek(SeekFrom::End(0)).with_context(|| format!("cannot find the size of {shown}"))?;
    Ok(DiskOutput::Device { path: path.to_owned(), file, size })
}

impl DiskOutput {
    /// Returns the size of a device.
    pub(super) fn device_size(&self) -> Option<u64> {
        match self {
            Self::Device { size, .. } => Some(*size),
            Self::File { .. } => None,
        }
    }

    /// Checks that a disk of this size fits on a device.
    pub(super) fn expect_room(&self, needed: u64) -> anyhow::Result<()> {
        match self {
            Self::Device { size, path, .. } if *size < needed => {
                bail!("{} has {size} bytes, fewer than the disk of {needed}", path.display())
            }
            _ => Ok(()),
        }
    }

    /// Calls `write` with the file, and whether it is new; then syncs it.
    pub(super) fn write<T>(self, write: impl FnOnce(&File, bool) -> anyhow::Result<T>) -> anyhow::Result<T> {
        match self {
            Self::File { path, replaces } => publish_file(&path, 0o666, replaces, |file| write(file, true)),
            Self::Device { path, file, .. } => {
                let written = write(&file, false)?;
                file.sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
                Ok(written)
            }
        }
    }
}
