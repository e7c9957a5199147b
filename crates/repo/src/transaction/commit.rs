//! The end of a transaction: sync the objects, write the image links, write the refs.

use std::collections::HashSet;
use std::sync::Arc;

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::{Image, LostOpaque};
use libcomposefs_image::tree::Tree;
use libcomposefs_store::Summary;

use super::{PendingImage, PendingStream, Transaction};
use crate::image_link::{CompleteImage, LinkedImage};
use crate::lease::Lease;
use crate::lock::{Locked, LockedStreams};
use crate::own_name::write_own_names;
use crate::stream_link::{self, CompleteStream, LinkedStream};
use crate::{ImageName, RefName, Repository, RepositoryError, StreamName, StreamTag, partial, refs};

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

/// The result of a transaction whose streams replace others.
#[derive(Debug)]
#[must_use = "the transaction may have to be completed again"]
pub enum StreamCommit<'r> {
    /// Everything is published.
    Done(Committed),
    /// Another process has changed a stream that was [expected](Transaction::expect_stream), and nothing is published.
    /// The transaction has its images still, and protects what it did, but its streams must be added again.
    Changed(Box<Transaction<'r>>),
}

/// A transaction whose objects are on disk. The only way to image links.
#[derive(Debug)]
#[must_use = "no image is published yet"]
pub struct SyncedObjects<'r> {
    repository: &'r Repository,
    lease: Arc<Lease>,
    images: Vec<PendingImage>,
    streams: Vec<PendingStream>,
    expected: Vec<(StreamName, Option<Digest>)>,
    objects: Summary,
}

/// The result of publishing, if no link could be written because another process has changed a stream.
enum Published<'r> {
    Linked(LinkedImages<'r>),
    Changed(SyncedObjects<'r>, StreamName),
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
        let Self { repository, lease, batch, images, streams, expected, stored } = self;
        // Before the rest is stored, and again when no other process can publish.
        refs::expect_room(&repository.dir, &names_of(&images))?;
        let objects = sum(stored, batch.finish()?);
        Ok(SyncedObjects { repository, lease, images, streams, expected, objects })
    }

    /// Publishes all images with their names. Everything is on disk when this returns.
    ///
    /// # Errors
    ///
    /// If something cannot be stored, or a name is in the way. Every ref is then what it was before.
    pub fn commit(self) -> Result<Committed, RepositoryError> {
        self.sync()?.publish_images()?.tag()
    }

    /// Publishes all images and streams, unless another process has changed a stream that was
    /// [expected](Self::expect_stream).
    ///
    /// # Errors
    ///
    /// Those of [`commit`](Self::commit).
    pub fn commit_streams(self) -> Result<StreamCommit<'r>, RepositoryError> {
        match self.sync()?.publish()? {
            Published::Linked(linked) => Ok(StreamCommit::Done(linked.tag()?)),
            Published::Changed(synced, _) => Ok(StreamCommit::Changed(Box::new(synced.again()))),
        }
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
    /// [`RepositoryError::Removed`], if another program has removed an object; [`RepositoryError::StreamChanged`], if
    /// another process has changed a stream; or if a link cannot be written.
    pub fn publish_images(self) -> Result<LinkedImages<'r>, RepositoryError> {
        let path = self.repository.dir.path.clone();
        match self.publish()? {
            Published::Linked(linked) => Ok(linked),
            Published::Changed(_, name) => Err(RepositoryError::StreamChanged { name: name.to_string(), path }),
        }
    }

    /// Begins again with the same lease and images, without streams.
    pub(crate) fn again(self) -> Transaction<'r> {
        let Self { repository, lease, images, objects: stored, .. } = self;
        let batch = repository.objects.batch_guarded(lease.clone());
        Transaction { repository, lease, batch, images, streams: Vec::new(), expected: Vec::new(), stored }
    }

    fn publish(self) -> Result<Published<'r>, RepositoryError> {
        let dir = &self.repository.dir;
        let locked = Locked::shared(dir)?;
        // Held from the comparison until the links are replaced.
        let streams_locked = (!self.streams.is_empty()).then(|| LockedStreams::lock(dir, &locked)).transpose()?;
        if let Some(locked) = &streams_locked
            && let Some(name) = stream_link::find_changed(dir, &self.expected, locked)?.cloned()
        {
            return Ok(Published::Changed(self, name));
        }
        let Self { repository, lease, images, streams, objects, .. } = self;
        // Our gc honours leases; that of other programs does not, so check once more under the lock.
        let digests: Vec<Digest> = images.iter().map(|image| image.digest).collect();
        let needed = images.iter().flat_map(|image| image.objects.iter().copied());
        let removed = |missing: Vec<Digest>| {
            let (count, first) = (missing.len(), Box::new(missing[0]));
            RepositoryError::Removed { count, first, path: dir.path.clone() }
        };
        let complete = CompleteImage::check_all(&repository.objects, &digests, needed).map_err(removed)?;
        // The streams of an image need what the image needs.
        let found: HashSet<&Digest> = images.iter().flat_map(|image| &image.objects).collect();
        let needed = streams.iter().flat_map(|stream| stream.objects.iter().copied());
        let needed = needed.filter(|digest| !found.contains(digest));
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
        if let Some(locked) = &streams_locked {
            for (stream, complete) in streams.into_iter().zip(complete_streams) {
                linked_streams.push((complete.link(dir, &lease, locked)?, stream.tags));
            }
        }
        let streams = linked_streams;
        Ok(Published::Linked(LinkedImages { repository, locked, lease, images: linked, streams, objects }))
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

    /// Writes the refs of all images, then the names and the tags of all streams. They are on disk when
    /// this returns.
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
        write_own_names(&repository.dir, &lease, &locked, streams.iter().map(|(stream, _)| stream))?;
        stream_link::write_tags(&repository.dir, &lease, &locked, &tags)?;
        let published: Vec<Digest> = images.iter().map(|(image, _, _)| *image.digest()).collect();
        let given: Vec<&RefName> = names.iter().map(|(name, _)| *name).collect();
        partial::settle(repository, &lease, &locked, &published, &given)?;
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
        refs::expect_not_reserved(name)?;
        let lease = self.lease()?;
        let digest = self.resolve(image)?;
        lease.protect(&[digest])?;
        let committed = LinkedImages::find(self, lease, image, digest, name)?.tag()?;
        Ok((digest, committed.images.into_iter().flat_map(|image| image.replaced).next()))
    }
}

/// Adds the counts of two batches.
fn sum(mut first: Summary, second: Summary) -> Summary {
    first.new += second.new;
    first.present += second.present;
    first.repeated += second.repeated;
    first.bytes_written += second.bytes_written;
    first.repaired.extend(second.repaired);
    first.repaired.sort_unstable();
    first
}

fn names_of(images: &[PendingImage]) -> Vec<&RefName> {
    images.iter().flat_map(|image| &image.names).collect()
}
