//! The partial images of a repository, and how much of them is here.

use std::collections::BTreeMap;

use libcomposefs_image::Digest;

use super::directory::PartialDir;
use super::entry::PartialEntry;
use crate::{ImageName, RefName, Repository, RepositoryError, layout, refs};

/// A partial image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartialImage {
    /// Digest of the image.
    pub digest: Digest,
    /// Names of the image, sorted.
    pub refs: Vec<RefName>,
    /// Description of the image.
    pub entry: PartialEntry,
}

/// The partial images of a repository, and what is wrong among them.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct PartialImages {
    /// The images, sorted by digest.
    pub images: Vec<PartialImage>,
    /// Names of partial images that do not exist.
    pub dangling: Vec<(RefName, Digest)>,
    /// Images whose description cannot be used.
    pub broken: Vec<(Digest, RepositoryError)>,
}

/// How much of an image is in the repository, without the image itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartialProgress {
    /// Number of different objects that the image needs.
    pub objects: u64,
    /// Size of these objects, in bytes.
    pub bytes: u64,
    /// Number of the objects that are here.
    pub objects_here: u64,
    /// Size of the objects that are here, in bytes.
    pub bytes_here: u64,
}

impl PartialProgress {
    /// Returns the number of objects that are missing.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.objects.saturating_sub(self.objects_here)
    }
}

impl Repository {
    /// Lists the partial images with their names. An image that is complete by now is left out.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read.
    pub fn partial_images(&self) -> Result<PartialImages, RepositoryError> {
        let mut all = PartialImages::default();
        let Some(partial) = PartialDir::open(&self.dir)? else { return Ok(all) };
        let mut names: BTreeMap<Digest, Vec<RefName>> = BTreeMap::new();
        for (name, digest) in self.partial_refs()? {
            names.entry(digest).or_default().push(name);
        }
        for digest in self.partial_entries()? {
            let refs = names.remove(&digest).unwrap_or_default();
            if self.has_image(&digest)? {
                continue;
            }
            match partial.entry(&digest) {
                Ok(Some(entry)) => all.images.push(PartialImage { digest, refs, entry }),
                // It was completed or removed meanwhile.
                Ok(None) => {}
                Err(error) => all.broken.push((digest, error)),
            }
        }
        for (digest, refs) in names {
            // It was completed meanwhile, and the names move.
            if !self.has_image(&digest)? {
                all.dangling.extend(refs.into_iter().map(|name| (name, digest)));
            }
        }
        Ok(all)
    }

    /// Returns the description of a partial image; `None` if the image is complete, or not here at all.
    ///
    /// # Errors
    ///
    /// If the description cannot be read.
    pub fn partial_image(&self, digest: &Digest) -> Result<Option<PartialImage>, RepositoryError> {
        let Some(partial) = PartialDir::open(&self.dir)? else { return Ok(None) };
        if self.has_image(digest)? {
            return Ok(None);
        }
        let Some(entry) = partial.entry(digest)? else { return Ok(None) };
        let refs = self.partial_refs()?.into_iter().filter(|(_, named)| named == digest).map(|(name, _)| name);
        Ok(Some(PartialImage { digest: *digest, refs: refs.collect(), entry }))
    }

    /// Counts the objects of an image that are here, by their sizes: nothing is compared.
    ///
    /// # Errors
    ///
    /// If the image itself is missing or damaged.
    pub fn progress_of_image(&self, digest: &Digest) -> Result<PartialProgress, RepositoryError> {
        let tree = self.tree_of_image(digest)?;
        let mut needed: Vec<_> =
            tree.objects().filter(|object| object.size > 0).map(|object| (object.digest, object.size)).collect();
        needed.sort_unstable();
        needed.dedup();
        let mut progress = PartialProgress::default();
        for (digest, size) in needed {
            progress.objects += 1;
            progress.bytes += size;
            if self.has_object(&digest, size)? {
                progress.objects_here += 1;
                progress.bytes_here += size;
            }
        }
        Ok(progress)
    }

    /// Returns whether the repository has a file of this size for an object.
    ///
    /// # Errors
    ///
    /// If the kernel cannot tell.
    pub fn has_object(&self, digest: &Digest, size: u64) -> Result<bool, RepositoryError> {
        match self.objects.try_stat(digest) {
            Ok(stat) => Ok(u64::try_from(stat.st_size).is_ok_and(|found| found == size)),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(errno) => {
                Err(RepositoryError::Io { step: "stat", path: self.objects.path_of(digest), source: errno.into() })
            }
        }
    }

    /// Lists the digests that have an entry, sorted. They may be complete.
    pub(crate) fn partial_entries(&self) -> Result<Vec<Digest>, RepositoryError> {
        let Some(partial) = PartialDir::open(&self.dir)? else { return Ok(Vec::new()) };
        let digest = |name: String| {
            let digest = Digest::from_hex(&name).ok().filter(|digest| digest.to_hex() == name);
            digest.filter(|digest| digest.algorithm() == self.algorithm())
        };
        let mut digests: Vec<Digest> = partial.names()?.into_iter().filter_map(digest).collect();
        digests.sort_unstable();
        Ok(digests)
    }

    /// Lists the names of partial images. Entries in another form are no names.
    pub(crate) fn partial_refs(&self) -> Result<Vec<(RefName, Digest)>, RepositoryError> {
        Ok(refs::list(&self.dir, layout::PARTIAL_REFS)?.good)
    }

    /// Returns the error of a name or digest that is that of a partial image; `None` if it is not.
    pub(crate) fn partial_error(&self, image: &ImageName) -> Result<Option<RepositoryError>, RepositoryError> {
        let Some(partial) = PartialDir::open(&self.dir)? else { return Ok(None) };
        let digest = match image {
            ImageName::Digest(digest) => Some(*digest),
            ImageName::Ref(name) => refs::read(&self.dir, layout::PARTIAL_REFS, name)?,
        };
        let entry = digest.map(|digest| partial.entry(&digest)).transpose()?.flatten();
        Ok(entry.map(|entry| RepositoryError::Partial {
            image: image.to_string(),
            path: self.dir.path.clone(),
            remote: entry.remote,
            name: entry.name,
        }))
    }
}
