//! The end of a transaction: sync the objects, write the image links, write the refs.

use std::sync::Arc;

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::{Image, LostOpaque};
use libcomposefs_image::tree::Tree;
use libcomposefs_store::Summary;

use super::{PendingImage, PendingStream, Transaction};
use crate::image_link::{CompleteImage, LinkedImage};
use crate::lease::Lease;
use crate::lock::Locked;
use crate::stream_link::{self, CompleteStream, LinkedStream};
use crate::{ImageName, RefName, Repository, RepositoryError, StreamTag, refs};

/// The result of a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The images, in the order in which they were added.
    pub images: Vec<PublishedImage>,
    /// Counts of the objects, those of the images themselves included.
    pub objects: Summary,
}

/// An image that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedImage {
    /// The digest of the image.
    pub digest: Digest,
    /// The size of the image itself, in bytes.
    pub size: u64,
    /// True if the repository did not have the image before.
    pub is_new: bool,
    /// The images that had the names of this one before.
    pub replaced: Vec<Digest>,
    /// Directories that are opaque in the tree and not in the image.
    pub lost_opaque: LostOpaque,
}

/// The only image of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The digest of the image.
    pub digest: Digest,
    /// The size of the image itself, in bytes.
    pub size: u64,
    /// True if the repository did not have the image before.
    pub is_new: bool,
    /// The image that had the name before, if it is another.
    pub replaced: Option<Digest>,
    /// Counts of the objects, the image's own included.
    pub objects: Summary,
    /// Directories that are opaque in the tree and not in the image.
    pub lost_opaque: LostOpaque,
}

/// A transaction whose objects are on disk. The only way to image links.
#[derive(Debug)]
#[must_use = "no image is published yet"]
pub struct SyncedObjects<'r> {
    repository: &'r Repository,
    lease: Arc<Lease>,
    images: Vec<PendingImage>,
    streams: Vec<PendingStream>,
    objects: Summary,
}

/// A transaction whose images are published. The only way to refs. The repository is locked, shared, until it is
/// dropped.
#[derive(Debug)]
#[must_use = "no ref is written yet"]
pub struct LinkedImages<'r> {
    repository: &'r Repository,
    // Dropped before the lease: what a gc that waits for the lock then reads is claimed.
    locked: Locked,
    lease: Arc<Lease>,
    images: Vec<(LinkedImage, Vec<RefName>, PublishedImage)>,
    streams: Vec<(LinkedStream, Vec<StreamTag>)>,
    objects: Summary,
}

impl<'r> Transaction<'r> {
    /// Writes all objects to disk, under their names.
    ///
    /// # Errors
    ///
    /// If an object cannot be stored, or a name of an image is in the way of another.
    pub fn sync(self) -> Result<SyncedObjects<'r>, RepositoryError> {
        let Self { repository, lease, batch, images, streams } = self;
        // Before the rest is stored, and again when no other process can publish.
        refs::expect_room(&repository.dir, &names_of(&images))?;
        let objects = batch.finish()?;
        Ok(SyncedObjects { repository, lease, images, streams, objects })
    }

    /// Publishes all images with their names. Everything is on disk when this returns.
    ///
    /// # Errors
    ///
    /// If something cannot be stored, or a name is in the way. Every ref is then what it was before.
    pub fn commit(self) -> Result<Committed, RepositoryError> {
        self.sync()?.publish_images()?.tag()
    }

    /// Adds an image and publishes it: [`add_image`](Self::add_image) and [`commit`](Self::commit) of a transaction of
    /// one image.
    ///
    /// # Errors
    ///
    /// Those of `add_image` and `commit`.
    pub fn commit_image(
        mut self,
        tree: &Tree,
        image: &Image<'_>,
        names: Vec<RefName>,
    ) -> Result<Created, RepositoryError> {
        self.add_image(tree, image, names)?;
        self.commit_last()
    }

    /// Commits, and returns the image that was added last.
    pub(crate) fn commit_last(self) -> Result<Created, RepositoryError> {
        let Committed { mut images, objects } = self.commit()?;
        let image = images.pop().expect("an image was added");
        let PublishedImage { digest, size, is_new, replaced, lost_opaque } = image;
        Ok(Created { digest, size, is_new, replaced: replaced.into_iter().next(), objects, lost_opaque })
    }
}

impl<'r> SyncedObjects<'r> {
    /// Writes the links of all images, then those of all streams, in the order in which they were added.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Removed`], if another program has removed an object; or if a link cannot be written.
    pub fn publish_images(self) -> Result<LinkedImages<'r>, RepositoryError> {
        let Self { repository, lease, images, streams, objects } = self;
        let dir = &repository.dir;
        let locked = Locked::shared(dir)?;
        // Our gc honours leases; that of other programs does not, so check once more under the lock.
        let digests: Vec<Digest> = images.iter().map(|image| image.digest).collect();
        let needed = images.iter().flat_map(|image| image.objects.iter().copied());
        let removed = |missing: Vec<Digest>| {
            let (count, first) = (missing.len(), Box::new(missing[0]));
            RepositoryError::Removed { count, first, path: dir.path.clone() }
        };
        let complete = CompleteImage::check_all(&repository.objects, &digests, needed).map_err(removed)?;
        let needed = streams.iter().flat_map(|stream| stream.objects.iter().copied());
        let names = streams.iter().map(|stream| (stream.name.clone(), stream.digest)).collect();
        let complete_streams = CompleteStream::check_all(&repository.objects, names, needed).map_err(removed)?;
        refs::expect_room(dir, &names_of(&images))?;
        let mut linked = Vec::new();
        for (image, complete) in images.into_iter().zip(complete) {
            let PendingImage { digest, size, names, lost_opaque, .. } = image;
            let (link, is_new) = complete.link(dir, &lease, &locked)?;
            linked.push((link, names, PublishedImage { digest, size, is_new, replaced: Vec::new(), lost_opaque }));
        }
        let mut linked_streams = Vec::new();
        for (stream, complete) in streams.into_iter().zip(complete_streams) {
            linked_streams.push((complete.link(dir, &lease, &locked)?, stream.tags));
        }
        Ok(LinkedImages { repository, locked, lease, images: linked, streams: linked_streams, objects })
    }
}

impl<'r> LinkedImages<'r> {
    /// Finds an image that the repository has, to be given a name. The lease must protect it.
    fn find(
        repository: &'r Repository,
        lease: Lease,
        image: &ImageName,
        digest: Digest,
        name: &RefName,
    ) -> Result<Self, RepositoryError> {
        let locked = Locked::shared(&repository.dir)?;
        let Some(link) = LinkedImage::find(&repository.dir, &locked, &digest)? else {
            return Err(repository.no_image(image, &digest));
        };
        let published =
            PublishedImage { digest, size: 0, is_new: false, replaced: Vec::new(), lost_opaque: LostOpaque::default() };
        let images = vec![(link, vec![name.clone()], published)];
        let (streams, objects) = (Vec::new(), Summary::default());
        Ok(Self { repository, locked, lease: Arc::new(lease), images, streams, objects })
    }

    /// Writes the refs of all images, then the tags of all streams. They are on disk when this returns.
    ///
    /// # Errors
    ///
    /// If a ref cannot be written, or its name is in the way of another. Every ref is then what it was before.
    pub fn tag(self) -> Result<Committed, RepositoryError> {
        // The lock is released before the lease.
        let Self { repository, lease, locked, mut images, streams, objects } = self;
        let names: Vec<(&RefName, &LinkedImage)> =
            images.iter().flat_map(|(image, names, _)| names.iter().map(move |name| (name, image))).collect();
        let mut replaced = refs::write::write(&repository.dir, &lease, &locked, &names)?.into_iter();
        let tags: Vec<(&StreamTag, &LinkedStream)> =
            streams.iter().flat_map(|(stream, tags)| tags.iter().map(move |tag| (tag, stream))).collect();
        stream_link::write_tags(&repository.dir, &lease, &locked, &tags)?;
        for (_, names, published) in &mut images {
            published.replaced = replaced.by_ref().take(names.len()).flatten().collect();
        }
        Ok(Committed { images: images.into_iter().map(|(_, _, published)| published).collect(), objects })
    }
}

impl Repository {
    /// Gives an image a name, and returns the image that had the name before, if it is another. The ref is on disk when
    /// this returns.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NoSuchImage`], [`RepositoryError::NameInTheWay`], or the kernel's answer.
    pub fn tag(&self, image: &ImageName, name: &RefName) -> Result<(Digest, Option<Digest>), RepositoryError> {
        let lease = self.lease()?;
        let digest = self.resolve(image)?;
        lease.protect(&[digest])?;
        let committed = LinkedImages::find(self, lease, image, digest, name)?.tag()?;
        Ok((digest, committed.images.into_iter().flat_map(|image| image.replaced).next()))
    }
}

fn names_of(images: &[PendingImage]) -> Vec<&RefName> {
    images.iter().flat_map(|image| &image.names).collect()
}
