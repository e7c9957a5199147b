//! Images are copied from another repository.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use libcomposefs_content::Progress;
use libcomposefs_image::Digest;
use libcomposefs_image::erofs::LostOpaque;

use super::import::{ImportOptions, Incoming, ObjectSource};
use super::{Created, ImageName, RefName, Repository, RepositoryError};
use crate::cold::is_base_name;
use libcomposefs_store::Summary;

/// A ref to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncStep {
    /// Name of the ref.
    pub name: RefName,
    /// Image of the ref in the other repository.
    pub digest: Digest,
    /// Image of the ref in this repository.
    pub here: Option<Digest>,
    /// True if this repository has the image.
    pub has_image: bool,
}

impl SyncStep {
    /// Returns whether the step has no work left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.has_image && self.here == Some(self.digest)
    }
}

impl Repository {
    /// Lists what copying these refs from another repository would do, or all refs if there are no names.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Algorithm`], [`RepositoryError::NoSuchRef`], or the kernel's error.
    pub fn plan_sync(&self, other: &Repository, names: &[RefName]) -> Result<Vec<SyncStep>, RepositoryError> {
        if other.algorithm() != self.algorithm() {
            return Err(RepositoryError::Algorithm {
                path: other.dir.path.clone(),
                found: other.algorithm(),
                repository: self.dir.path.clone(),
                expected: self.algorithm(),
            });
        }
        let names: Vec<(RefName, Digest)> = if names.is_empty() {
            // The bases of cold images are kept for these alone.
            other.refs()?.good.into_iter().filter(|(name, _)| !is_base_name(name)).collect()
        } else {
            let resolve = |name: &RefName| Ok((name.clone(), other.resolve(&ImageName::Ref(name.clone()))?));
            names.iter().map(resolve).collect::<Result<_, RepositoryError>>()?
        };
        let step = |(name, digest): (RefName, Digest)| {
            let (here, has_image) = (self.read_ref(&name)?, self.has_image(&digest)?);
            Ok(SyncStep { name, digest, here, has_image })
        };
        names.into_iter().map(step).collect()
    }

    /// Does one step: copies the image with the objects that this repository lacks, then writes the ref. Existing
    /// objects are checked, copied ones are compared with their digests; extents are shared where the file system can.
    ///
    /// # Errors
    ///
    /// If the image in the other repository is damaged or missing, or cannot be stored.
    pub fn sync(
        &self,
        other: &Repository,
        step: &SyncStep,
        threads: NonZeroUsize,
        progress: &dyn Progress,
    ) -> Result<Created, RepositoryError> {
        let reader = other.reader()?;
        let held = reader.hold(&step.digest)?;
        if held.is_none() {
            other.expect_image(&ImageName::Ref(step.name.clone()), &step.digest)?;
        }
        if step.has_image {
            match self.tag(&ImageName::Digest(step.digest), &step.name) {
                // A gc has removed it since the step was planned.
                Err(RepositoryError::NoSuchImage { .. }) => {}
                result => {
                    let (digest, replaced) = result?;
                    let (objects, lost_opaque) = (Summary::default(), LostOpaque::default());
                    return Ok(Created { digest, size: 0, is_new: false, replaced, objects, lost_opaque });
                }
            }
        }
        let image = other.read_image(&step.digest)?;
        let wrong = |source| RepositoryError::Image { digest: Box::new(step.digest), source };
        let incoming = Incoming::read(&image.bytes, image.digest).map_err(wrong)?;
        drop(image);
        let options = ImportOptions { objects: ObjectSource::Store(&other.objects), rewrite: false, threads, progress };
        let source = PathBuf::from(step.name.as_str());
        self.import(&incoming, &source, Some(&step.name), &options)
    }

    /// Imports one image, and publishes it.
    ///
    /// # Errors
    ///
    /// Those of [`import_image`](super::Transaction::import_image) and [`commit`](super::Transaction::commit). Nothing
    /// is published then.
    pub fn import(
        &self,
        incoming: &Incoming,
        source: &std::path::Path,
        name: Option<&RefName>,
        options: &ImportOptions<'_>,
    ) -> Result<Created, RepositoryError> {
        let mut transaction = self.transaction()?;
        transaction.import_image(incoming, source, name.cloned().into_iter().collect(), options)?;
        transaction.commit_last()
    }
}
