//! The open repository: its settings, its directory, its objects and its links.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_store::{ObjectDir, ObjectVerity, StorePolicy, VerifyExisting};
use libcomposefs_sys::copy::fill;
use libcomposefs_sys::resolve_beneath::open_beneath;
use libcomposefs_sys::verity::{Measurement, is_enabled, measure};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;

use crate::broken_ref::BrokenRef;
use crate::dir::RepoDir;
use crate::error::io_error;
use crate::lease::Lease;
use crate::refs::{self, Refs};
use crate::wait::{WaitPolicy, Waiting};
use crate::{ImageName, Meta, RefName, RepositoryError, image_link, layout};

/// Largest size of `meta.json` that is read. The file has a few lines.
const META_MAX: usize = 64 << 10;

/// An open repository.
///
/// Commands work in it by roles: a [`Reader`](crate::Reader) reads images that stay as long as it lives, a
/// [`Transaction`](crate::Transaction) publishes images, and a [`Collector`](crate::Collector) removes what is not
/// needed.
///
/// ```
/// use libcomposefs_image::Algorithm;
/// use libcomposefs_repo::{Format, Repository, Settings};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::default() };
/// Repository::init(dir.path(), settings)?;
/// let repository = Repository::open(dir.path())?;
/// assert_eq!(repository.algorithm(), Algorithm::Sha256);
/// assert!(repository.refs()?.good.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Repository {
    pub(crate) dir: RepoDir,
    pub(crate) meta: Meta,
    pub(crate) demands_verity: bool,
    pub(crate) objects: ObjectDir,
}

impl Repository {
    /// Sets a flag that cancels running operations once it is true. A cancelled operation fails and publishes nothing.
    #[must_use]
    pub fn interrupted_by(mut self, flag: Arc<AtomicBool>) -> Self {
        self.dir.wait.interrupt = Some(flag);
        self
    }

    /// Sets a function that is called when another process holds a lock for longer than a second, with the path of what
    /// is locked.
    #[must_use]
    pub fn telling(mut self, tell: fn(&Path, Waiting)) -> Self {
        self.dir.wait.tell = Some(tell);
        self
    }

    /// Opens an existing repository.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NotARepository`], [`RepositoryError::Meta`], or the kernel's error.
    pub fn open(path: &Path) -> Result<Self, RepositoryError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(path, flags, Mode::empty()).map_err(io_error("open the repository", path))?;
        Self::open_at(directory, path)
    }

    fn open_at(directory: OwnedFd, path: &Path) -> Result<Self, RepositoryError> {
        let (meta, demands_verity) = read_meta(&directory, path)?;
        Self::with_meta(directory, path, meta, demands_verity)
    }

    /// Opens a repository with these settings, without reading `meta.json`.
    pub(crate) fn with_meta(
        directory: OwnedFd,
        path: &Path,
        meta: Meta,
        demands_verity: bool,
    ) -> Result<Self, RepositoryError> {
        let objects_path = path.join(layout::OBJECTS);
        let directory = Arc::new(directory);
        let verity = if demands_verity { ObjectVerity::Required } else { ObjectVerity::IfPossible };
        let policy = StorePolicy::default().with_verity(verity).with_verify_existing(VerifyExisting::Contents);
        // Other programs make the directory when they store the first object.
        let objects = ObjectDir::open_in(directory.clone(), layout::OBJECTS, &objects_path, meta.algorithm, policy)?;
        Ok(Self {
            dir: RepoDir {
                fd: directory,
                path: path.to_owned(),
                algorithm: meta.algorithm,
                wait: WaitPolicy::default(),
            },
            meta,
            demands_verity,
            objects,
        })
    }

    /// Returns the path that the repository was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir.path
    }

    /// Returns the algorithm of all digests.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.meta.algorithm
    }

    /// Returns the settings in `meta.json`.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Returns whether every object must have fs-verity, and every mount requires it.
    #[must_use]
    pub fn demands_verity(&self) -> bool {
        self.demands_verity
    }

    /// Returns the store of objects.
    #[must_use]
    pub fn objects(&self) -> &ObjectDir {
        &self.objects
    }

    pub(crate) fn expect_writable(&self) -> Result<(), RepositoryError> {
        if self.meta.read_only.is_empty() {
            return Ok(());
        }
        Err(RepositoryError::ReadOnly { path: self.dir.path.clone(), features: self.meta.read_only.clone() })
    }

    /// Lists the refs.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read. A single wrong ref is in the list.
    pub fn refs(&self) -> Result<Refs, RepositoryError> {
        refs::list(&self.dir, layout::IMAGE_REFS)
    }

    /// Returns the image that a name leads to. The image itself may be missing.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NoSuchRef`], [`RepositoryError::Partial`], [`RepositoryError::Link`]
    pub fn resolve(&self, name: &ImageName) -> Result<Digest, RepositoryError> {
        match name {
            ImageName::Digest(digest) => Ok(*digest),
            ImageName::Ref(name) => {
                let no_such = || RepositoryError::NoSuchRef { name: name.clone(), path: self.dir.path.clone() };
                match self.read_ref(name)? {
                    Some(digest) => Ok(digest),
                    None => Err(self.partial_error(&ImageName::Ref(name.clone()))?.unwrap_or_else(no_such)),
                }
            }
        }
    }

    pub(crate) fn read_ref(&self, name: &RefName) -> Result<Option<Digest>, RepositoryError> {
        refs::read(&self.dir, layout::IMAGE_REFS, name)
    }

    /// Removes a ref, or the name of a cold or partial image. The image stays until the next gc. The change is on disk
    /// when this returns.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NoSuchRef`], or the kernel's answer.
    pub fn untag(&self, name: &RefName) -> Result<Option<Digest>, RepositoryError> {
        self.expect_writable()?;
        let mut result = refs::write::remove(&self.dir, layout::IMAGE_REFS, name);
        for top in [layout::COLD_REFS, layout::PARTIAL_REFS] {
            if matches!(result, Err(RepositoryError::NoSuchRef { .. })) {
                result = refs::write::remove(&self.dir, top, name);
            }
        }
        result
    }

    /// Lists the digests of all images, sorted, and the entries of `images` that are not in this program's form.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn image_links(&self) -> Result<(Vec<Digest>, Vec<BrokenRef>), RepositoryError> {
        image_link::list(&self.dir)
    }

    /// Returns whether the repository has a link of this image.
    ///
    /// # Errors
    ///
    /// If the link cannot be read.
    pub fn has_image(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        image_link::exists(&self.dir, digest)
    }

    /// Makes a lease, which protects objects and images from gc.
    ///
    /// # Errors
    ///
    /// If the repository is read-only for this version, or the lease cannot be written.
    pub fn lease(&self) -> Result<Lease, RepositoryError> {
        self.expect_writable()?;
        Lease::begin(&self.dir)
    }
}

/// Reads the settings, and whether their file has fs-verity, which means that all objects must.
fn read_meta(directory: &OwnedFd, path: &Path) -> Result<(Meta, bool), RepositoryError> {
    let meta_path = path.join(layout::META);
    let file = match open_beneath(directory.as_fd(), layout::META.as_bytes()) {
        Err(Errno::NOENT) => return Err(RepositoryError::NotARepository { path: path.to_owned() }),
        result => result.map_err(io_error("open", &meta_path))?,
    };
    let stat = fstat(&file).map_err(io_error("stat", &meta_path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io_error("read", &meta_path)(std::io::Error::other("it is no regular file")));
    }
    let mut text = vec![0; META_MAX];
    let len = fill(file.as_fd(), &mut text, 0).map_err(io_error("read", &meta_path))?;
    let meta = Meta::parse(&text[..len]).map_err(|source| RepositoryError::Meta { path: meta_path.clone(), source })?;
    let demands_verity = demands_verity(&file).map_err(io_error("measure", &meta_path))?;
    Ok((meta, demands_verity))
}

/// Returns whether a file has fs-verity. If a sandbox refuses to measure it, the attribute is read instead: a
/// repository that requires fs-verity must not be taken for one that does not.
pub(crate) fn demands_verity(file: &OwnedFd) -> std::io::Result<bool> {
    match measure(file)? {
        Measurement::Digest(_) => Ok(true),
        Measurement::NotEnabled | Measurement::Unsupported => Ok(false),
        Measurement::Refused(_) => is_enabled(file),
    }
}
