//! Images that the repository vouches for.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use libcomposefs_image::Digest;
use libcomposefs_sys::file_lease::is_open_elsewhere;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::{ImageName, RefName, Repository, RepositoryError, io_error};
use crate::broken_ref::BrokenRef;
use libcomposefs_store::ImageBytes;
use libcomposefs_store::ObjectError;

/// An image of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEntry {
    /// Its digest.
    pub digest: Digest,
    /// Its names, in order.
    pub refs: Vec<RefName>,
    /// The length of the image itself; `None` if it is not there.
    pub size: Option<u64>,
}

/// What a repository has of images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// The images, in order of their digests.
    pub images: Vec<ImageEntry>,
    /// Names of images that are not there.
    pub dangling: Vec<(RefName, Digest)>,
    /// What is in `images` or among the names, and should not be.
    pub broken: Vec<BrokenRef>,
}

impl Repository {
    /// Lists the images with their names.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read.
    pub fn images(&self) -> Result<Images, RepositoryError> {
        let refs = self.refs()?;
        let mut images = Images { broken: refs.broken, ..Images::default() };
        let mut names: BTreeMap<Digest, Vec<RefName>> = BTreeMap::new();
        refs.good.into_iter().for_each(|(name, digest)| names.entry(digest).or_default().push(name));
        let (digests, broken) = self.image_links()?;
        images.broken.extend(broken);
        for digest in digests {
            let refs = names.remove(&digest).unwrap_or_default();
            let stat = self.objects.try_stat(&digest).ok();
            let regular = stat.filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
            let size = regular.and_then(|stat| u64::try_from(stat.st_size).ok());
            images.images.push(ImageEntry { digest, refs, size });
        }
        for (digest, refs) in names {
            for name in refs {
                if self.is_dangling(&name, &digest)? {
                    images.dangling.push((name, digest));
                }
            }
        }
        images.dangling.sort();
        Ok(images)
    }

    /// Whether a name, that led to this image a while ago, leads nowhere. It may have been taken since, and the image gone.
    pub(crate) fn is_dangling(&self, name: &RefName, digest: &Digest) -> Result<bool, RepositoryError> {
        Ok(!self.has_image(digest)? && self.read_ref(name)? == Some(*digest))
    }

    /// Demands that the repository vouches for an image, which `name` led to.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Dangling`], [`RepositoryError::NoSuchImage`]
    pub fn expect_image(&self, name: &ImageName, digest: &Digest) -> Result<(), RepositoryError> {
        if self.has_image(digest)? { Ok(()) } else { Err(self.no_image(name, digest)) }
    }

    /// Returns the error of an image without a link, which `name` led to.
    pub(crate) fn no_image(&self, name: &ImageName, digest: &Digest) -> RepositoryError {
        let (digest, path) = (Box::new(*digest), self.dir.path.clone());
        match name {
            ImageName::Ref(name) => RepositoryError::Dangling { name: name.clone(), digest, path },
            ImageName::Digest(_) => RepositoryError::NoSuchImage { digest, path },
        }
    }

    /// Opens the object of an image, which must be a regular file.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ImageObject`]
    pub fn open_image(&self, digest: &Digest) -> Result<OwnedFd, RepositoryError> {
        let wrong = |source| RepositoryError::ImageObject { digest: Box::new(*digest), source };
        let path = || self.objects.path_of(digest);
        let Some(file) = self.objects.open_object(digest)? else {
            return Err(wrong(ObjectError::Io { step: "open", path: path(), source: rustix::io::Errno::NOENT.into() }));
        };
        let stat = fstat(&file).map_err(io_error("stat", path()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let source = std::io::Error::other("it is no regular file");
            return Err(wrong(ObjectError::Io { step: "open", path: path(), source }));
        }
        Ok(file)
    }

    /// Whether a mount or a program has an image open. Where the kernel cannot tell, whether the image is among the mounts that
    /// can be seen. An image without an object is not open.
    ///
    /// # Errors
    ///
    /// If the object is there and cannot be opened: then the image may be open.
    pub(crate) fn is_open(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        let path = || self.objects.path_of(digest);
        let file = match self.objects.try_open(digest) {
            Ok(file) => file,
            // Nothing, or a link, socket or device in the place of the object.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Ok(false),
            Err(errno) => return Err(io_error("open", path())(errno)),
        };
        let stat = fstat(&file).map_err(io_error("stat", path()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(false);
        }
        match is_open_elsewhere(file.as_fd()).map_err(io_error("lease", path()))? {
            Some(answer) => Ok(answer),
            None => {
                let mounts = std::fs::read("/proc/self/mountinfo").map_err(io_error("read", "/proc/self/mountinfo"))?;
                let hex = digest.to_hex();
                Ok(mounts.windows(hex.len()).any(|window| window == hex.as_bytes()))
            }
        }
    }

    /// Reads an image, and checks that its whole file has the digest.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ImageObject`]
    pub fn read_image(&self, digest: &Digest) -> Result<ImageBytes, RepositoryError> {
        let path: PathBuf = self.objects.path_of(digest);
        let wrong = |source| RepositoryError::ImageObject { digest: Box::new(*digest), source };
        let file = std::fs::File::from(self.open_image(digest)?);
        let len = file.metadata().map_err(io_error("stat", &path))?.len();
        // A file that grows is no object any more.
        let image = ImageBytes::read(&mut file.take(len), Some(len), digest.algorithm())
            .map_err(|source| wrong(ObjectError::Io { step: "read", path: path.clone(), source }))?;
        if image.digest != *digest {
            let (expected, found) = (Box::new(*digest), Box::new(image.digest));
            return Err(wrong(ObjectError::Digest { path, expected, found }));
        }
        Ok(image)
    }
}
