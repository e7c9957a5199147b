//! The cold images of a repository.

use std::collections::BTreeMap;

use libcomposefs_image::Digest;
use rustix::fs::Dir;

use super::directory::ColdDir;
use super::entry::ColdEntry;
use super::error::ColdError;
use crate::{ImageName, RefName, Repository, RepositoryError, io_error, layout, refs};

/// A cold image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColdImage {
    /// Digest of the image.
    pub digest: Digest,
    /// Names of the image, sorted.
    pub refs: Vec<RefName>,
    /// Description of the pack.
    pub entry: ColdEntry,
}

/// The cold images of a repository, and what is wrong among them.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ColdImages {
    /// The images, sorted by digest.
    pub images: Vec<ColdImage>,
    /// Names of cold images that do not exist.
    pub dangling: Vec<(RefName, Digest)>,
    /// Images whose description cannot be used.
    pub broken: Vec<(Digest, ColdError)>,
}

impl Repository {
    /// Lists the cold images with their names.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read.
    pub fn cold_images(&self) -> Result<ColdImages, RepositoryError> {
        let mut all = ColdImages::default();
        let Some(cold) = ColdDir::open(&self.dir)? else { return Ok(all) };
        let mut names: BTreeMap<Digest, Vec<RefName>> = BTreeMap::new();
        for (name, digest) in self.cold_refs()? {
            names.entry(digest).or_default().push(name);
        }
        for digest in listed(&cold, self)? {
            match cold.entry(&digest) {
                Ok(Some(entry)) => {
                    let refs = names.remove(&digest).unwrap_or_default();
                    all.images.push(ColdImage { digest, refs, entry });
                }
                // It was unpacked meanwhile.
                Ok(None) => {}
                Err(error) => {
                    names.remove(&digest);
                    all.broken.push((digest, error));
                }
            }
        }
        all.dangling.extend(names.into_iter().flat_map(|(digest, refs)| refs.into_iter().map(move |r| (r, digest))));
        Ok(all)
    }

    /// Returns the cold image of a name or digest; `None` if it is that of an image that is not cold, or of no image.
    ///
    /// # Errors
    ///
    /// If a link cannot be read.
    pub fn cold_image(&self, name: &ImageName) -> Result<Option<Digest>, RepositoryError> {
        match name {
            ImageName::Digest(digest) if self.has_image(digest)? => Ok(None),
            ImageName::Digest(digest) => {
                let Some(cold) = ColdDir::open(&self.dir)? else { return Ok(None) };
                Ok(listed(&cold, self)?.contains(digest).then_some(*digest))
            }
            ImageName::Ref(name) if self.read_ref(name)?.is_some() => Ok(None),
            ImageName::Ref(name) => refs::read(&self.dir, layout::COLD_REFS, name),
        }
    }

    /// Lists the names of cold images. Entries in another form are no names.
    pub(super) fn cold_refs(&self) -> Result<Vec<(RefName, Digest)>, RepositoryError> {
        Ok(refs::list(&self.dir, layout::COLD_REFS)?.good)
    }
}

/// Lists the digests that have an entry, sorted.
pub(super) fn listed(cold: &ColdDir, repository: &Repository) -> Result<Vec<Digest>, RepositoryError> {
    let path = repository.dir.path.join(layout::COLD);
    let mut digests = Vec::new();
    for entry in Dir::read_from(cold.fd()).map_err(io_error("list", &path))? {
        let entry = entry.map_err(io_error("list", &path))?;
        let name = entry.file_name().to_bytes();
        let digest = Digest::from_hex(name).ok().filter(|digest| digest.to_hex().as_bytes() == name);
        digests.extend(digest.filter(|digest| digest.algorithm() == repository.algorithm()));
    }
    digests.sort_unstable();
    Ok(digests)
}
