//! Images of another repository, brought here.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use libcomposefs_content::Progress;
use libcomposefs_image::Digest;
use libcomposefs_image::erofs::LostOpaque;

use super::import::{ImportOptions, Incoming, Objects};
use super::{Created, ImageName, RefName, Repository, RepositoryError};
use libcomposefs_store::Summary;

/// A name to be brought, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncStep {
    /// The name.
    pub name: RefName,
    /// The image there.
    pub digest: Digest,
    /// The image that has this name here.
    pub here: Option<Digest>,
    /// Whether the image itself is here.
    pub has_image: bool,
}

impl SyncStep {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.has_image && self.here == Some(self.digest)
    }
}

impl Repository {
    /// What bringing these names, or all, from another repository would do.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Algorithm`], [`RepositoryError::NoSuchRef`], or what the kernel says.
    pub fn plan_sync(&self, other: &Repository, names: &[RefName]) -> Result<Vec<SyncStep>, RepositoryError> {
        if other.algorithm() != self.algorithm() {
            return Err(RepositoryError::Algorithm {
                path: other.dir.path.clone(),
                found: other.algorithm(),
                repository: self.dir.path.clone(),
                expected: self.algorithm(),
            });
        }
        let names = if names.is_empty() {
            other.refs()?.good
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

    /// Does one step: the image with the objects that are not here, then the name. What is here is looked at, what comes is
    /// compared; extents are shared where the file system can.
    ///
    /// # Errors
    ///
    /// If the image there is damaged or gone, or cannot be stored here.
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
        let options = ImportOptions { objects: Objects::Store(&other.objects), rewrite: false, threads, progress };
        let source = PathBuf::from(step.name.as_str());
        self.import(&incoming, &source, Some(&step.name), &options)
    }

    /// Takes in one image.
    ///
    /// # Errors
    ///
    /// As [`import_image`](super::Transaction::import_image). Then nothing of it is published.
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
