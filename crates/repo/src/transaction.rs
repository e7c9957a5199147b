//! The role that publishes images: objects first, then the image links, then the refs (`docs/format/repository.md`,
//! section 4).
//!
//! Each step returns what the next one needs, so the order is checked by the compiler:
//! [`Transaction::sync`] returns [`SyncedObjects`], whose [`publish_images`](SyncedObjects::publish_images) returns
//! [`LinkedImages`], whose [`tag`](LinkedImages::tag) writes the refs.

mod commit;

use std::path::Path;
use std::sync::Arc;

use libcomposefs_content::{Progress, thread_count};
use libcomposefs_image::Digest;
use libcomposefs_image::erofs::{Image, LostOpaque};
use libcomposefs_image::tree::Tree;
use libcomposefs_scan::{self as scan, scan};
use libcomposefs_store::{Batch, Summary};

use crate::lease::Lease;
use crate::{RefName, Repository, RepositoryError, StreamName, StreamTag};

pub use commit::{Committed, Created, LinkedImages, PublishedImage, StreamCommit, SyncedObjects};

/// Images that are being added to a repository.
///
/// Contents go to the [`batch`](Self::batch), where a lease protects them from gc, and images are added by
/// [`add_image`](Self::add_image). Nothing of it is part of the repository before it is [committed](Self::commit). A
/// transaction that is dropped publishes nothing: no image link and no ref. Objects that were stored by then stay until
/// the next gc, as another program may rely on them by now; `mkcomposefs --digest-store`, for one, has no lease.
///
/// ```
/// use libcomposefs_content::NoProgress;
/// use libcomposefs_image::Algorithm;
/// use libcomposefs_repo::{Format, GcOptions, ImageName, Repository, Settings};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let (path, source) = (dir.path().join("repository"), dir.path().join("source"));
/// # std::fs::create_dir(&source)?;
/// std::fs::write(source.join("file"), [7; 100])?;
/// let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::default() };
/// let (repository, _) = Repository::init(&path, settings)?;
///
/// // Store the contents of a directory, and the image of it under a name.
/// let mut transaction = repository.transaction()?;
/// let tree = transaction.scan(&source, &Default::default(), &NoProgress)?;
/// let image = repository.meta().format.plan(&tree)?;
/// let digest = transaction.add_image(&tree, &image, vec!["debian/13".parse()?])?;
/// let committed = transaction.commit()?;
/// assert_eq!(committed.images[0].digest, digest);
///
/// // Give it another name, and remove the first.
/// repository.tag(&ImageName::Digest(digest), &"debian/stable".parse()?)?;
/// repository.untag(&"debian/13".parse()?)?;
/// assert_eq!(repository.resolve(&"debian/stable".parse()?)?, digest);
///
/// // Without a name, the image and its objects are removed by a gc.
/// repository.untag(&"debian/stable".parse()?)?;
/// let report = repository.gc(GcOptions { dry_run: false, grace: std::time::Duration::ZERO })?;
/// assert_eq!(report.removed_images, [digest]);
/// assert_eq!(report.removed_objects, 2);
/// # Ok(())
/// # }
/// ```
///
/// A ref cannot be written before the objects are on disk and the image is published. There is no such method:
///
/// ```compile_fail,E0599
/// # fn f(transaction: libcomposefs_repo::Transaction<'_>) -> Result<(), libcomposefs_repo::RepositoryError> {
/// transaction.tag()?;
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0599
/// # fn f(transaction: libcomposefs_repo::Transaction<'_>) -> Result<(), libcomposefs_repo::RepositoryError> {
/// transaction.sync()?.tag()?;
/// # Ok(())
/// # }
/// ```
///
/// The three steps in order:
///
/// ```
/// # fn f(transaction: libcomposefs_repo::Transaction<'_>) -> Result<(), libcomposefs_repo::RepositoryError> {
/// transaction.sync()?.publish_images()?.tag()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a transaction that is dropped publishes nothing"]
pub struct Transaction<'r> {
    repository: &'r Repository,
    lease: Arc<Lease>,
    batch: Batch<'r>,
    images: Vec<PendingImage>,
    streams: Vec<PendingStream>,
    /// The objects that the links of streams must lead to when they are replaced.
    expected: Vec<(StreamName, Option<Digest>)>,
    /// Counts of the objects that are on disk already.
    stored: Summary,
}

/// An image that is in the batch.
#[derive(Debug)]
struct PendingImage {
    digest: Digest,
    size: u64,
    names: Vec<RefName>,
    /// The objects that the image needs.
    objects: Vec<Digest>,
    lost_opaque: LostOpaque,
}

/// A stream whose object is in the batch, or in the repository.
#[derive(Debug)]
struct PendingStream {
    name: StreamName,
    digest: Digest,
    tags: Vec<StreamTag>,
    /// The objects that the stream needs, those of other streams and images included.
    objects: Vec<Digest>,
}

impl Repository {
    /// Begins to add images.
    ///
    /// # Errors
    ///
    /// If no lease can be made.
    pub fn transaction(&self) -> Result<Transaction<'_>, RepositoryError> {
        let lease = Arc::new(self.lease()?);
        let batch = self.objects.batch_guarded(lease.clone());
        let (images, streams, expected) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Transaction { repository: self, lease, batch, images, streams, expected, stored: Summary::default() })
    }
}

impl<'r> Transaction<'r> {
    /// Returns the repository that is added to.
    #[must_use]
    pub fn repository(&self) -> &'r Repository {
        self.repository
    }

    /// Returns the batch that stores contents. It is a sink for scans and imports.
    #[must_use]
    pub fn batch(&self) -> &Batch<'r> {
        &self.batch
    }

    /// Stores the contents of a directory tree, and returns the tree.
    ///
    /// # Errors
    ///
    /// If the tree cannot be read or stored.
    pub fn scan(
        &self,
        source: &Path,
        options: &scan::Options,
        progress: &dyn Progress,
    ) -> Result<Tree, RepositoryError> {
        let options = scan::Options { algorithm: self.repository.algorithm(), ..options.clone() };
        Ok(scan(source, &options, &self.batch, progress)?)
    }

    /// Stores an image, to be published under these names. The contents of its tree must have been stored before.
    ///
    /// # Errors
    ///
    /// If the image cannot be stored.
    pub fn add_image(
        &mut self,
        tree: &Tree,
        image: &Image<'_>,
        names: Vec<RefName>,
    ) -> Result<Digest, RepositoryError> {
        let (threads, algorithm) = (thread_count(None), self.repository.algorithm());
        let (digest, _) = self.batch.put_written(|out| image.write_and_digest(algorithm, threads, out))?;
        let mut objects: Vec<Digest> =
            tree.objects().filter(|object| object.size > 0).map(|object| object.digest).collect();
        objects.sort_unstable();
        objects.dedup();
        let (size, lost_opaque) = (image.len(), image.lost_opaque());
        self.images.push(PendingImage { digest, size, names, objects, lost_opaque });
        Ok(digest)
    }

    /// Stores a stream, to be published under this name, with these tags. `objects` are those that the stream needs.
    ///
    /// # Errors
    ///
    /// If the stream cannot be stored.
    pub fn add_stream(
        &mut self,
        name: StreamName,
        file: &[u8],
        objects: Vec<Digest>,
        tags: Vec<StreamTag>,
    ) -> Result<Digest, RepositoryError> {
        let (digest, _) = self.batch.put_bytes(file)?;
        self.streams.push(PendingStream { name, digest, tags, objects });
        Ok(digest)
    }

    /// Adds a stream whose object the repository has, or that another transaction has stored. It must be
    /// [protected](Self::protect).
    pub fn add_stored_stream(&mut self, name: StreamName, digest: Digest, objects: Vec<Digest>) {
        self.streams.push(PendingStream { name, digest, tags: Vec::new(), objects });
    }

    /// Expects the link of a stream to lead to this object, or to be missing, when the transaction replaces it: what
    /// replaces it was made from it. [`commit_streams`](Self::commit_streams) says if another process has changed it.
    pub fn expect_stream(&mut self, name: StreamName, digest: Option<Digest>) {
        self.expected.push((name, digest));
    }

    /// Protects objects, images and streams, with all that they need, from gc until the transaction has ended.
    ///
    /// # Errors
    ///
    /// If the lease cannot be written.
    pub fn protect(&self, digests: &[Digest]) -> Result<(), RepositoryError> {
        Ok(self.lease.protect(digests)?)
    }

    /// Fails if the operation was cancelled by the flag of [`Repository::interrupted_by`].
    ///
    /// # Errors
    ///
    /// [`Interrupted`](libcomposefs_store::Error::Interrupted).
    pub fn proceed(&self) -> Result<(), RepositoryError> {
        Ok(libcomposefs_store::GcGuard::proceed(&*self.lease)?)
    }
}
