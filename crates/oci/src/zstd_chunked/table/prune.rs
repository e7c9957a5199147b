//! Pruning the table of a repository after a gc.

use std::io;
use std::sync::Arc;

use libcomposefs_repo::Repository;
use rustix::io::Errno;

use super::update;

/// Removes the places in objects that do not exist any more from the table of a repository, if it has one.
///
/// # Errors
///
/// If the table cannot be read or written.
pub fn prune(repository: &Repository) -> io::Result<()> {
    let Some(cache) = repository.cache().map_err(io::Error::other)? else { return Ok(()) };
    update(&Arc::new(cache), repository.algorithm(), |table| {
        let before = table.len();
        table.retain(&mut |object| repository.objects().try_stat(object).err() != Some(Errno::NOENT));
        table.len() < before
    })
}
