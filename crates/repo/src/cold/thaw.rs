//! Thawing: the objects of a cold image are unpacked, and its names move back.

use std::io::BufReader;

use libcomposefs_image::Digest;
use libcomposefs_store::Summary;

use super::directory::{LockedCold, base_ref};
use super::entry::ColdEntry;
use super::error::{ColdError, shown};
use crate::bundle::ReadBundle;
use crate::image_link::LinkedImage;
use crate::import::ImportOptions;
use crate::lease::Lease;
use crate::lock::Locked;
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
        lease.protect(&[digest]).map_err(RepositoryError::from)?;
        let mut unpacked = Vec::new();
        for (base, entry) in bases.iter().rev() {
            // Kept until the image is published, as the lease of the objects.
            unpacked.push(self.read_pack(&cold, base, entry, options)?.store_images(options)?);
        }
        let bundle = self.read_pack(&cold, &digest, &entry, options)?;
        let imported = bundle.publish(&|_, _| Vec::new(), options)?;
        // No other process gives or moves names meanwhile.
        let refs = self.restore_names(&cold, &lease, &Locked::exclusive(&self.dir)?, &digest)?;
        Ok(Some(Thawed { digest, refs, objects: imported.objects }))
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

    /// Makes an image warm that the repository has whole: its names become refs again, unless other images have them by
    /// now, and its entry and pack are removed. Returns the names.
    pub(super) fn restore_names(
        &self,
        cold: &LockedCold,
        lease: &Lease,
        alone: &Locked,
        digest: &Digest,
    ) -> Result<Vec<RefName>, RepositoryError> {
        let Some(image) = LinkedImage::find(&self.dir, alone, digest)? else {
            return Err(self.no_image(&ImageName::Digest(*digest), digest));
        };
        let mut restored = Vec::new();
        for (name, _) in self.cold_refs()?.into_iter().filter(|(_, named)| named == digest) {
            if self.has_another(&name, digest)? {
                continue;
            }
            refs::write::write(&self.dir, lease, alone, &[(&name, &image)])?;
            match refs::write::remove(&self.dir, layout::COLD_REFS, &name) {
                Ok(_) => restored.push(name),
                // `untag` needs no lock.
                Err(RepositoryError::NoSuchRef { .. }) => self.remove_ref(layout::IMAGE_REFS, &name)?,
                Err(error) => return Err(error),
            }
        }
        self.forget_cold(cold, digest)?;
        Ok(restored)
    }

    /// Returns true if a name is that of another image, which is here.
    pub(super) fn has_another(&self, name: &RefName, digest: &Digest) -> Result<bool, RepositoryError> {
        match self.read_ref(name)? {
            Some(other) if other != *digest => Ok(self.has_image(&other)? && self.objects.try_stat(&other).is_ok()),
            _ => Ok(false),
        }
    }

    /// Returns true if an image has a link, and all its objects are files.
    pub(super) fn is_whole(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        if !self.has_image(digest)? {
            return Ok(false);
        }
        let Ok(tree) = self.tree_of_image(digest) else { return Ok(false) };
        Ok(tree.objects().filter(|object| object.size > 0).all(|object| self.objects.try_stat(&object.digest).is_ok()))
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
