//! New images: objects first, then the image, then its name (`docs/format/repository.md`, section 4).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcomposefs_content::Progress;
use libcomposefs_image::Digest;
use libcomposefs_image::erofs::{Image, LostOpaque, WriteError};
use libcomposefs_image::tree::Tree;
use libcomposefs_scan::{self as scan, scan};

use super::{Lease, RefName, Repository, RepositoryError};
use libcomposefs_store::{Batch, Summary};

/// An image that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its digest.
    pub digest: Digest,
    /// The length of the image itself.
    pub size: u64,
    /// Whether the repository did not have it.
    pub is_new: bool,
    /// The image that had the name before, if it is another.
    pub replaced: Option<Digest>,
    /// What became of the objects, the image's own among them.
    pub objects: Summary,
    /// Directories that are opaque in the tree and not in the image.
    pub lost_opaque: LostOpaque,
}

/// Images in the making. What is put into the batch is safe from gc, and not part of the repository before
/// [`publish`](Self::publish).
#[derive(Debug)]
pub struct Creation<'r> {
    repository: &'r Repository,
    lease: &'r Lease,
    /// Takes the contents.
    pub batch: Batch<'r>,
    images: Vec<Pending>,
}

/// An image that is in the batch.
#[derive(Debug)]
struct Pending {
    digest: Digest,
    size: u64,
    names: Vec<RefName>,
    lost_opaque: LostOpaque,
}

impl Repository {
    /// Begins to make an image.
    #[must_use]
    pub fn creation<'r>(&'r self, lease: &'r Lease) -> Creation<'r> {
        Creation { repository: self, lease, batch: self.objects.batch_guarded(lease), images: Vec::new() }
    }

    /// Makes an image of a directory tree, with all its contents, and gives it a name. All of it is on disk when this
    /// returns.
    ///
    /// # Errors
    ///
    /// If the tree cannot be read or stored. Then nothing is published.
    pub fn create(
        &self,
        source: &Path,
        options: &scan::Options,
        name: Option<&RefName>,
        progress: &dyn Progress,
    ) -> Result<Created, RepositoryError> {
        let options = scan::Options { algorithm: self.algorithm(), ..options.clone() };
        self.making(|mut creation| {
            let tree = scan(source, &options, &creation.batch, progress)?;
            let image = self.meta.format.plan(&tree).map_err(|error| cannot_write(source, &tree, error))?;
            creation.add(&image, name.cloned().into_iter().collect())?;
            creation.publish_one([tree])
        })
    }

    /// Makes something that is published at the end. If `make` fails, nothing is published. Objects that were stored before
    /// stay until the next gc: another program may rely on them by now, such as a `mkcomposefs --digest-store`, which has no
    /// lease.
    ///
    /// # Errors
    ///
    /// What `make` gives.
    pub fn making<T, E: From<RepositoryError>>(&self, make: impl FnOnce(Creation<'_>) -> Result<T, E>) -> Result<T, E> {
        let lease = self.lease()?;
        make(self.creation(&lease))
    }
}

impl Creation<'_> {
    /// The repository.
    pub(crate) fn repository(&self) -> &Repository {
        self.repository
    }

    /// Writes an image into the batch, to be published under these names.
    ///
    /// # Errors
    ///
    /// If it cannot be stored.
    pub fn add(&mut self, image: &Image<'_>, names: Vec<RefName>) -> Result<Digest, RepositoryError> {
        let threads = scan::Options::default().thread_count();
        let algorithm = self.repository.algorithm();
        let (digest, _) = self.batch.put_written(|out| image.write_and_digest(algorithm, threads, out))?;
        self.images.push(Pending { digest, size: image.len(), names, lost_opaque: image.lost_opaque() });
        Ok(digest)
    }

    /// The same of the only image that was added.
    ///
    /// # Errors
    ///
    /// If something cannot be stored.
    ///
    /// # Panics
    ///
    /// If no image was added.
    pub fn publish_one(self, trees: [Tree; 1]) -> Result<Created, RepositoryError> {
        let (mut published, objects) = self.publish(&trees)?;
        let Published { digest, size, is_new, replaced, lost_opaque } = published.remove(0);
        Ok(Created { digest, size, is_new, replaced: replaced.into_iter().next(), objects, lost_opaque })
    }

    /// Publishes the images. All objects of their trees were put into the batch.
    ///
    /// # Errors
    ///
    /// If something cannot be stored, or a name is in the way. Then every name is what it was.
    pub fn publish(self, trees: &[Tree]) -> Result<(Vec<Published>, Summary), RepositoryError> {
        let Self { repository, lease, batch, images } = self;
        let names: Vec<(&RefName, Digest)> =
            images.iter().flat_map(|image| image.names.iter().map(|name| (name, image.digest))).collect();
        // Before anything is stored, and again when nobody can remove anything.
        repository.expect_room(&names)?;
        let objects = batch.finish()?;
        let _lock = repository.lock_shared()?;
        let needed = trees.iter().flat_map(Tree::objects).filter(|object| object.size > 0).map(|object| object.digest);
        repository.expect_objects(needed.chain(images.iter().map(|image| image.digest)).collect())?;
        repository.expect_room(&names)?;
        let mut published = Vec::new();
        for Pending { digest, size, lost_opaque, .. } in &images {
            let is_new = repository.write_image_link(lease, digest)?;
            let lost_opaque = lost_opaque.clone();
            published.push(Published { digest: *digest, size: *size, is_new, replaced: Vec::new(), lost_opaque });
        }
        let mut replaced = repository.write_refs(lease, &names)?.into_iter();
        for (image, published) in images.iter().zip(&mut published) {
            published.replaced = replaced.by_ref().take(image.names.len()).flatten().collect();
        }
        Ok((published, objects))
    }
}

/// One of several images that were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its digest.
    pub digest: Digest,
    /// The length of the image itself.
    pub size: u64,
    /// Whether the repository did not have it.
    pub is_new: bool,
    /// The images that had its names before.
    pub replaced: Vec<Digest>,
    /// Directories that are opaque in the tree and not in the image.
    pub lost_opaque: LostOpaque,
}

impl Repository {
    /// Looks for all objects of a new image. Ours are safe from our own gc; others do not ask.
    fn expect_objects(&self, mut objects: Vec<Digest>) -> Result<(), RepositoryError> {
        objects.sort_unstable();
        objects.dedup();
        objects.retain(|digest| self.objects.try_stat(digest).is_err());
        match objects.first() {
            None => Ok(()),
            Some(first) => {
                let (count, first) = (objects.len(), Box::new(*first));
                Err(RepositoryError::Removed { count, first, path: self.path.clone() })
            }
        }
    }
}

/// The error of the image writer, with the place in the source that it is about.
pub(crate) fn cannot_write(source: &Path, tree: &Tree, error: WriteError) -> RepositoryError {
    let path = match error.inode() {
        None => source.to_owned(),
        Some(inode) => {
            let below = tree.path_of(inode);
            let below = OsStr::from_bytes(below.strip_prefix(b"/").unwrap_or(&below));
            if below.is_empty() { source.to_owned() } else { PathBuf::from(source).join(below) }
        }
    };
    RepositoryError::Write { path, source: error }
}
