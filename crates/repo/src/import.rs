//! Images from elsewhere are imported: read into a tree, written again, compared (`docs/format/repository.md`, section
//! 3).

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use libcomposefs_content::{Progress, SourceFile};
use libcomposefs_image::Digest;
use libcomposefs_image::erofs::read::{ImageReader, ReadError, load};
use libcomposefs_image::erofs::{Image, Versions, WriteError, format_version};
use libcomposefs_image::tree::{Data, Inode, NeededObject, Tree};
use libcomposefs_sys::copy::READ_SIZE;

use super::create::cannot_write;
use super::{RefName, Repository, RepositoryError, Transaction};
use libcomposefs_content::workers;
use libcomposefs_store::Basedirs;
use libcomposefs_store::ObjectDir;
use libcomposefs_store::ObjectError;

/// Places to look for objects that the repository lacks.
#[derive(Clone, Copy, Debug)]
pub enum ObjectSource<'a> {
    /// No place: the repository must have all objects.
    None,
    /// Directories of objects, as given to a mount.
    Basedirs(&'a Basedirs),
    /// Another store.
    Store(&'a ObjectDir),
}

/// An image, or a tree, to be imported.
#[derive(Debug)]
pub struct Incoming {
    /// Tree of the image.
    pub tree: Tree,
    /// Digest and version of the image, if it was one and not a dump.
    pub image: Option<WasImage>,
}

/// Digest and format version of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WasImage {
    /// Digest of the image file.
    pub digest: Digest,
    /// Format version of the image.
    pub version: u32,
}

impl Incoming {
    /// Reads an image from its bytes. `digest` is that of the whole file.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the bytes are no image, or are damaged.
    pub fn read(bytes: &[u8], digest: Digest) -> Result<Self, ReadError> {
        let reader = ImageReader::new(bytes)?;
        let version = reader.header().format_version;
        let tree = load(&reader, &[])?.tree;
        Ok(Self { tree, image: Some(WasImage { digest, version }) })
    }
}

/// Options of an import.
#[derive(Clone, Copy)]
pub struct ImportOptions<'a> {
    /// Places to look for objects that the repository lacks.
    pub objects: ObjectSource<'a>,
    /// Import an image also if writing it again gives other bytes; those are stored.
    pub rewrite: bool,
    /// Number of threads that copy and compare objects.
    pub threads: NonZeroUsize,
    /// Receives the size of each object that is done.
    pub progress: &'a dyn Progress,
}

impl std::fmt::Debug for ImportOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportOptions").field("objects", &self.objects).field("rewrite", &self.rewrite).finish()
    }
}

impl Transaction<'_> {
    /// Imports an image with all its objects: those that the repository has are compared, the others are copied.
    /// `source` is for messages.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NotCanonical`], [`RepositoryError::NoObject`], [`RepositoryError::Missing`], or an error of
    /// storing.
    pub fn import_image(
        &mut self,
        incoming: &Incoming,
        source: &Path,
        names: Vec<RefName>,
        options: &ImportOptions<'_>,
    ) -> Result<Digest, RepositoryError> {
        let tree = &incoming.tree;
        let image = plan(self.repository(), incoming, options.rewrite).map_err(|error| match error {
            NotPlanned::Write(error) => cannot_write(source, tree, error),
            NotPlanned::Other(error) => error,
        })?;
        self.gather(tree, source, options)?;
        self.add_image(tree, &image, names)
    }

    /// Stores all objects of a tree that the repository lacks.
    fn gather(&self, tree: &Tree, source: &Path, options: &ImportOptions<'_>) -> Result<(), RepositoryError> {
        let path_of = |inode| PathBuf::from(OsStr::from_bytes(&tree.path_of(inode)));
        expect_own_objects(tree, source)?;
        let mut needed: Vec<NeededObject> = tree.objects().filter(|object| object.size > 0).collect();
        needed.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.digest.cmp(&b.digest)));
        needed.dedup_by_key(|object| object.digest);
        let (missing, failed) = (Mutex::new(Vec::new()), Mutex::new(None));
        let work = |one: NeededObject, buffer: &mut Vec<u8>| {
            buffer.resize(READ_SIZE, 0);
            if failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                return;
            }
            match self.gather_one(&one, options.objects, buffer) {
                Ok(None) => options.progress.bytes(one.size),
                Ok(Some(reason)) => {
                    missing.lock().unwrap_or_else(PoisonError::into_inner).push((
                        path_of(one.inode),
                        one.digest,
                        reason,
                    ));
                }
                Err(error) => drop(failed.lock().unwrap_or_else(PoisonError::into_inner).replace(error)),
            }
        };
        workers::run(options.threads, work, |sender| needed.into_iter().for_each(|one| sender.send(one)));
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let mut missing = missing.into_inner().unwrap_or_else(PoisonError::into_inner);
        missing.sort_by(|a, b| a.0.cmp(&b.0));
        let others = missing.len().saturating_sub(1);
        match missing.into_iter().next() {
            None => Ok(()),
            Some((path, digest, reason)) => {
                Err(RepositoryError::Missing { path, digest: Box::new(digest), reason: reason.0, others })
            }
        }
    }

    /// Finds one object in the batch or the repository, or copies it. Returns the reason if the object was not found.
    fn gather_one(
        &self,
        needed: &NeededObject,
        objects: ObjectSource<'_>,
        buffer: &mut [u8],
    ) -> Result<Option<Reason>, RepositoryError> {
        if self.batch().contains(&needed.digest, needed.size)? {
            return Ok(None);
        }
        match objects {
            ObjectSource::None => Ok(Some(Reason(None))),
            ObjectSource::Store(store) => match store.open_object(&needed.digest)? {
                Some(file) => self.copy(needed, file.as_fd(), buffer),
                None => Ok(Some(Reason(None))),
            },
            ObjectSource::Basedirs(basedirs) => match basedirs.open_object(needed.digest.object_path().as_bytes()) {
                Ok(object) => self.copy(needed, object.as_fd(), buffer),
                Err(error) => Ok(Some(Reason(Some(error)))),
            },
        }
    }

    fn copy(
        &self,
        needed: &NeededObject,
        file: BorrowedFd<'_>,
        buffer: &mut [u8],
    ) -> Result<Option<Reason>, RepositoryError> {
        let source = SourceFile::of(file).map_err(libcomposefs_store::Error::from)?;
        let path = PathBuf::from(needed.digest.object_path());
        // Another user's store may have a directory or FIFO under the name.
        let is_regular = rustix::fs::fstat(file)
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile);
        if !is_regular {
            return Ok(Some(Reason(Some(ObjectError::NotRegular { path }))));
        }
        if source.size != needed.size {
            let error = ObjectError::Size { path, expected: needed.size, found: source.size };
            return Ok(Some(Reason(Some(error))));
        }
        let (found, _) = self.batch().put_file(&source, buffer)?;
        if found != needed.digest {
            let (expected, found) = (Box::new(needed.digest), Box::new(found));
            return Ok(Some(Reason(Some(ObjectError::Digest { path, expected, found }))));
        }
        Ok(None)
    }
}

/// Checks that an image is what this program writes of its tree, and that its contents are objects named by their
/// digests, without looking for the objects.
pub(crate) fn check_incoming(
    repository: &Repository,
    incoming: &Incoming,
    source: &Path,
) -> Result<(), RepositoryError> {
    plan(repository, incoming, false).map_err(|error| match error {
        NotPlanned::Write(error) => cannot_write(source, &incoming.tree, error),
        NotPlanned::Other(error) => error,
    })?;
    expect_own_objects(&incoming.tree, source)
}

fn expect_own_objects(tree: &Tree, source: &Path) -> Result<(), RepositoryError> {
    let Some(inode) = tree.inodes().find(lacks_own_object) else { return Ok(()) };
    let path = PathBuf::from(OsStr::from_bytes(&tree.path_of(inode.id())));
    Err(RepositoryError::NoObject { path: source.join(path.strip_prefix("/").unwrap_or(Path::new(""))) })
}

/// Plans the image, and checks that it is the same as the imported one.
fn plan<'t>(repository: &Repository, incoming: &'t Incoming, rewrite: bool) -> Result<Image<'t>, NotPlanned> {
    let format = repository.meta().format;
    let tree = &incoming.tree;
    let Some(was) = incoming.image else { return Ok(format.plan(tree)?) };
    let same = match was.version {
        version @ 0..=1 => Image::plan(tree, Versions::exactly(version)),
        _ => Image::plan_as(tree, &format_version::LEGACY),
    };
    let written = match same {
        Ok(image) => {
            let digest = image.digest(repository.algorithm());
            if digest == was.digest {
                return Ok(image);
            }
            digest
        }
        Err(error) if !rewrite => return Err(error.into()),
        Err(_) => was.digest,
    };
    if rewrite {
        return Ok(format.plan(tree)?);
    }
    let (found, written) = (Box::new(was.digest), Box::new(written));
    Err(NotPlanned::Other(RepositoryError::NotCanonical { found, written }))
}

/// Returns whether the content of a file is outside of the image, and the path of the file is not that of its digest.
fn lacks_own_object(inode: &Inode<'_>) -> bool {
    let Data::Regular { content: None, payload, digest } = inode.data() else { return false };
    let is_own = |digest: Digest| payload.is_some_and(|payload| digest.has_object_path(&payload));
    inode.size() > 0 && !digest.is_some_and(is_own)
}

/// Reason why an object was not found, if more is known.
struct Reason(Option<ObjectError>);

enum NotPlanned {
    Write(WriteError),
    Other(RepositoryError),
}

impl From<WriteError> for NotPlanned {
    fn from(error: WriteError) -> Self {
        NotPlanned::Write(error)
    }
}
