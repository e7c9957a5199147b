//! Adding a partial image: the image itself is stored, and its names go to `partial/refs`.

use std::path::Path;
use std::sync::Arc;

use libcomposefs_image::Digest;

use super::directory::PartialDir;
use super::entry::PartialEntry;
use crate::import::{Incoming, check_incoming};
use crate::lock::Locked;
use crate::{RefName, Repository, RepositoryError, layout, refs};

/// The result of [`Repository::add_partial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddedPartial {
    /// The image is partial, under its names.
    Partial,
    /// The repository has the image with all objects: nothing was changed.
    Complete,
}

impl Repository {
    /// Adds an image without its objects. `bytes` must have the digest, and be what this program writes of the tree in
    /// them: the same rule holds for the image when it is complete. Everything is on disk when this returns.
    ///
    /// The numbers of objects and bytes in the entry are set here.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NotCanonical`], [`RepositoryError::NoObject`], [`RepositoryError::NameInTheWay`], or an error
    /// of storing.
    pub fn add_partial(
        &self,
        bytes: &[u8],
        digest: &Digest,
        mut entry: PartialEntry,
        names: &[RefName],
    ) -> Result<AddedPartial, RepositoryError> {
        self.expect_writable()?;
        let wrong = |source| RepositoryError::Image { digest: Box::new(*digest), source };
        let incoming = Incoming::read(bytes, *digest).map_err(wrong)?;
        check_incoming(self, &incoming, Path::new(&entry.remote))?;
        let mut objects: Vec<_> =
            incoming.tree.objects().filter(|object| object.size > 0).map(|o| (o.digest, o.size)).collect();
        objects.sort_unstable();
        objects.dedup();
        entry.objects = objects.len() as u64;
        entry.bytes = objects.iter().map(|(_, size)| size).sum();
        let lease = Arc::new(self.lease()?);
        lease.protect(&[*digest])?;
        refs::expect_room(&self.dir, &names.iter().collect::<Vec<_>>())?;
        let batch = self.objects.batch_guarded(lease.clone());
        let (stored, _) = batch.put_bytes(bytes)?;
        if stored != *digest {
            let (found, written) = (Box::new(*digest), Box::new(stored));
            return Err(RepositoryError::NotCanonical { found, written });
        }
        batch.finish()?;
        // A gc that waits for the lock sees the entry when it has it.
        let _locked = Locked::shared(&self.dir)?;
        if self.has_image(digest)? {
            return Ok(AddedPartial::Complete);
        }
        PartialDir::make(&self.dir)?.write(digest, &entry)?;
        for name in names {
            refs::write::write_to(&self.dir, layout::PARTIAL_REFS, &lease, name, digest)?;
        }
        Ok(AddedPartial::Partial)
    }
}
