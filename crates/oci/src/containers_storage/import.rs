//! Importing a layer of the store.

use std::io;
use std::os::fd::AsFd as _;

use libcomposefs_sys::resolve_beneath::open_directory_beneath;
use rustix::fs::{AtFlags, statat};

use super::big_data::{self, file_name};
use super::composefs::{self, ListedContent};
use super::diff::{DiffFiles, plain_toc, tar_split};
use super::files::{damaged, io_error, open_file, read_file};
use super::root::StorageRoot;
use super::{ContainersStorage, StorageError, StorageLayer};
use crate::BlobDigest;
use crate::layer::{ImportedLayer, LayerSink, import_layer};
use crate::tar::Limits;
use crate::tar_split::{ArchiveRebuilder, Origins};

/// Largest size of the tar-split data of a layer after decompression, in bytes: the limit of partial pulls.
const TAR_SPLIT_MAX: u64 = 256 << 20;

/// Imports a layer: rebuilds its archive from the files of the store. Like [`import_layer`] it gives nothing a name.
///
/// `origins` tells an [`OriginSink`](crate::tar_split::OriginSink) which files can be cloned. `diff_id` is that of the
/// configuration of the image.
///
/// # Errors
///
/// If the archive cannot be rebuilt, or is another than that of the diff ID, or cannot be stored.
pub fn import_storage_layer(
    storage: &ContainersStorage,
    layer: &StorageLayer,
    diff_id: BlobDigest,
    sink: &dyn LayerSink,
    origins: &Origins<'_>,
    limits: Limits,
    size_max: u64,
) -> Result<ImportedLayer, StorageError> {
    let id = &layer.id;
    // The diff ID is compared. The checksums of the files only tell which one was changed, if one was.
    let mut archive = rebuilder(storage, id, origins)?.without_checksums();
    let imported = match import_layer(&mut archive, sink, limits, size_max) {
        Ok(imported) if imported.diff_id == diff_id => return Ok(imported),
        imported => imported,
    };
    let error = match (archive.take_error(), imported) {
        (Some(source), _) => return Err(StorageError::Rebuild { layer: id.clone(), source }),
        (None, Err(source)) => StorageError::Layer { layer: id.clone(), source },
        (None, Ok(imported)) => StorageError::DiffId { layer: id.clone(), expected: diff_id, found: imported.diff_id },
    };
    let origins = Origins::default();
    let mut archive = rebuilder(storage, id, &origins)?;
    let _ = io::copy(&mut archive, &mut io::sink());
    Err(match archive.take_error() {
        Some(source) => StorageError::Rebuild { layer: id.clone(), source },
        None => error,
    })
}

/// Starts to rebuild the archive of a layer.
fn rebuilder<'o>(
    storage: &ContainersStorage,
    id: &str,
    origins: &'o Origins<'o>,
) -> Result<ArchiveRebuilder<'o, impl io::BufRead + use<>, DiffFiles>, StorageError> {
    let no_tar_split = || StorageError::NoTarSplit(id.to_owned());
    let root = storage.roots.iter().find(|root| root.layers.contains_key(id)).ok_or_else(no_tar_split)?;
    let name = format!("overlay-layers/{id}.tar-split.gz");
    let lines = open_file(&root.directory, &root.path, &name)?.ok_or_else(no_tar_split)?;
    let diff = format!("overlay/{id}/diff");
    let directory = open_directory_beneath(root.directory.as_fd(), diff.as_bytes())
        .map_err(|errno| io_error("open", &root.path, &diff, errno.into()))?;
    let files = DiffFiles::new(directory, listed_contents(root, id)?);
    Ok(ArchiveRebuilder::new(tar_split(lines, TAR_SPLIT_MAX), files, origins))
}

/// Returns the contents of a layer in the form of composefs. `None` for ordinary layers.
fn listed_contents(root: &StorageRoot, id: &str) -> Result<Option<Vec<ListedContent>>, StorageError> {
    let blob = format!("overlay/{id}/composefs-data/composefs.blob");
    if statat(&root.directory, &*blob, AtFlags::SYMLINK_NOFOLLOW).is_err() {
        return Ok(None);
    }
    let name = format!("overlay-layers/{id}/{}", file_name(big_data::TOC));
    let toc = read_file(&root.directory, &root.path, &name, TAR_SPLIT_MAX)?;
    let toc = toc.ok_or_else(|| damaged(&root.path, &name, "a layer in the form of composefs needs it".to_owned()))?;
    let toc = plain_toc(toc, TAR_SPLIT_MAX).map_err(|error| io_error("decompress", &root.path, &name, error))?;
    composefs::contents(&toc).map(Some).map_err(|problem| damaged(&root.path, &name, problem))
}
