//! The set of needed images, objects and streams.

mod of_streams;

use std::collections::BTreeSet;

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_image::tree::Tree;

use super::digest_set::DigestSet;
use super::{Leads, Repository, RepositoryError};
use crate::broken_ref::BrokenRef;

/// The needed images, objects and streams that were found so far.
#[derive(Debug)]
pub(crate) struct MarkSet {
    /// Needed objects, those of the images themselves included.
    pub(crate) objects: DigestSet,
    /// Images that are needed.
    pub(crate) images: BTreeSet<Digest>,
    /// Images whose object exists and cannot be read. The objects that they need are unknown.
    pub(crate) unreadable: Vec<(Digest, RepositoryError)>,
    /// Images whose object was missing when it was looked for. It may be stored later.
    pub(crate) missing: BTreeSet<Digest>,
    /// Streams that were read.
    pub(crate) streams: BTreeSet<Digest>,
    /// Entries that cannot be interpreted, so that their target is unknown.
    pub(crate) unclear: BTreeSet<BrokenRef>,
}

impl MarkSet {
    pub(crate) fn new(repository: &Repository) -> Self {
        Self {
            objects: DigestSet::new(repository.algorithm()),
            images: BTreeSet::new(),
            unreadable: Vec::new(),
            missing: BTreeSet::new(),
            streams: BTreeSet::new(),
            unclear: BTreeSet::new(),
        }
    }

    /// Returns whether an image must be marked. A missing image is looked for again.
    pub(crate) fn lacks_image(&self, repository: &Repository, digest: &Digest) -> bool {
        !self.images.contains(digest) && (!self.missing.contains(digest) || repository.objects.try_stat(digest).is_ok())
    }

    /// Marks an image and all objects that it needs.
    pub(crate) fn image(&mut self, repository: &Repository, digest: &Digest) {
        if !self.lacks_image(repository, digest) {
            return;
        }
        self.objects.insert(digest);
        match repository.objects_of_image(digest, |object| {
            self.objects.insert(object);
        }) {
            Ok(()) => drop(self.images.insert(*digest)),
            Err(error) => match repository.objects.open_object(digest) {
                // Without a link the image was never published, or is no longer. With a link it may come back, and the
                // objects that it needs are unknown.
                Ok(None) if repository.has_image(digest).is_ok_and(|has_link| !has_link) => {
                    self.missing.insert(*digest);
                }
                _ => {
                    self.images.insert(*digest);
                    self.unreadable.push((*digest, error));
                }
            },
        }
    }

    /// Returns whether an entry that is not in this program's form must be marked.
    pub(crate) fn lacks_broken(&self, repository: &Repository, entry: &BrokenRef) -> bool {
        match &entry.leads {
            Leads::To(digest) => self.lacks_image(repository, digest),
            Leads::Entry(_) => false,
            Leads::Unclear => !self.unclear.contains(entry),
        }
    }

    /// Marks the targets of entries that are not in this program's form.
    pub(crate) fn broken(&mut self, repository: &Repository, broken: &[BrokenRef]) {
        for entry in broken {
            match &entry.leads {
                Leads::To(digest) => self.image(repository, digest),
                Leads::Entry(_) => {}
                Leads::Unclear => drop(self.unclear.insert(entry.clone())),
            }
        }
    }
}

impl Repository {
    /// Passes each object that an image needs to `show`, once for each file that needs it. Checks the digest of the
    /// image before.
    pub(crate) fn objects_of_image(
        &self,
        digest: &Digest,
        mut show: impl FnMut(&Digest),
    ) -> Result<(), RepositoryError> {
        let tree = self.tree_of_image(digest)?;
        tree.objects().for_each(|object| show(&object.digest));
        Ok(())
    }

    /// Reads the tree of an image, and checks the digest of the image.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ImageObject`], [`RepositoryError::Image`]
    pub fn tree_of_image(&self, digest: &Digest) -> Result<Tree, RepositoryError> {
        let image = self.read_image(digest)?;
        let wrong = |source| RepositoryError::Image { digest: Box::new(*digest), source };
        let reader = ImageReader::new(&image.bytes).map_err(wrong)?;
        Ok(load(&reader, &[]).map_err(wrong)?.tree)
    }
}
