//! Thawing: the objects of a cold image are unpacked, and its names move back.

use std::io::BufReader;

use libcomposefs_image::Digest;
use libcomposefs_store::Summary;

use super::directory::{LockedCold, base_ref};
use super::entry::ColdEntry;
use super::error::{ColdError, shown};
use crate::bundle::ReadBundle;
use crate::import::ImportOptions;
use crate::{ImageName, RefName, Repository, RepositoryError, layout, refs};

/// Result of [`Repository::thaw`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Thawed {
    /// Digest of the image.
    pub digest: Digest,
    /// Names of the image, sorted.
    pub refs: Vec<RefName>,
    /// Counts of the objects.
    pub objects: Summary,
}

impl Repository {
    /// Unpacks a cold image. Each object is compared with its digest; then the image is published under its names, and
    /// the pack is removed. Returns `None` if another process has unpacked it meanwhile.
    ///
    /// Bases that are cold too stay cold: their objects are unpacked for the time being, and those that the image does
    /// not need itself are removed by the next gc.
    ///
    /// # Errors
    ///
    /// [`ColdError::NoSuchImage`], or if the pack or an object of the base is damaged. The image then stays cold.
    pub fn thaw(&self, image: &ImageName, options: &ImportOptions<'_>) -> Result<Option<Thawed>, ColdError> {
        self.expect_writable()?;
        let cold = LockedCold::lock(&self.dir)?;
        let digest = match image {
            ImageName::Digest(digest) => Some(*digest),
            ImageName::Ref(name) => refs::read(&self.dir, layout::COLD_REFS, name)?,
        };
        let found = digest.map(|digest| cold.entry(&digest).map(|entry| (digest, entry))).transpose()?;
        let Some((digest, Some(entry))) = found else {
            let is_warm = match image {
                ImageName::Ref(name) => self.read_ref(name)?.is_some(),
                ImageName::Digest(digest) => self.has_image(digest)?,
            };
            let no_such = || ColdError::NoSuchImage { image: shown(image), path: self.dir.path.clone() };
            return if is_warm { Ok(None) } else { Err(no_such()) };
        };
        let lease = self.lease()?;
        let bases = self.cold_bases(&cold, &digest, &entry)?;
        let warm_base = bases.last().map_or(entry.base, |(_, last)| last.base);
        lease.protect(warm_base.as_slice()).map_err(RepositoryError::from)?;
        let mut unpacked = Vec::new();
        for (base, entry) in bases.iter().rev() {
            // Kept until the image is published, as the lease of the objects.
            unpacked.push(self.read_pack(&cold, base, entry, options)?.store_images(options)?);
        }
        let bundle = self.read_pack(&cold, &digest, &entry, options)?;
        let names = self.names_to_move(&digest)?;
        let imported = bundle.publish(&|_, _| names.clone(), options)?;
        self.forget_cold(&cold, &digest)?;
        Ok(Some(Thawed { digest, refs: names, objects: imported.objects }))
    }

    /// Unpacks the objects of a cold image, whose bases the repository has.
    fn read_pack(
        &self,
        cold: &LockedCold,
        digest: &Digest,
        entry: &ColdEntry,
        options: &ImportOptions<'_>,
    ) -> Result<ReadBundle<'_>, ColdError> {
        let path = cold.pack_path(digest);
        let input = BufReader::with_capacity(1 << 20, cold.open_pack(digest, entry)?);
        let bundle = self.read_bundle_on(options.threads, input, &path, options.progress)?;
        let images = bundle.image_digests();
        if images == [*digest] {
            return Ok(bundle);
        }
        Err(ColdError::OtherImage { path, expected: Box::new(*digest), found: format!("{images:?}") })
    }

    /// Returns the names of a cold image that no other image has.
    fn names_to_move(&self, digest: &Digest) -> Result<Vec<RefName>, RepositoryError> {
        let mut names = Vec::new();
        for (name, _) in self.cold_refs()?.into_iter().filter(|(_, named)| named == digest) {
            if self.read_ref(&name)?.is_none() {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Removes the names, the entry and the pack of a cold image, and the name of its base, which can be cold.
    pub(super) fn forget_cold(&self, cold: &LockedCold, digest: &Digest) -> Result<(), RepositoryError> {
        for (name, _) in self.cold_refs()?.into_iter().filter(|(_, named)| named == digest) {
            self.remove_ref(layout::COLD_REFS, &name)?;
        }
        cold.remove(digest)?;
        self.remove_ref(layout::COLD_REFS, &base_ref(digest))?;
        self.remove_ref(layout::IMAGE_REFS, &base_ref(digest))
    }

    /// Removes a ref, if it exists.
    pub(crate) fn remove_ref(&self, top: &str, name: &RefName) -> Result<(), RepositoryError> {
        match refs::write::remove(&self.dir, top, name) {
            Ok(_) | Err(RepositoryError::NoSuchRef { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
