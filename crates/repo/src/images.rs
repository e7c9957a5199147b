//! The images of a repository.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
    /// Digest of the image.
    pub digest: Digest,
    /// Names of the image, sorted.
    pub refs: Vec<RefName>,
    /// Size of the image itself, in bytes; `None` if its object is missing.
    pub size: Option<u64>,
}

/// The images of a repository, and entries that are wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// The images, sorted by digest.
    pub images: Vec<ImageEntry>,
    /// Refs whose image is missing.
    pub dangling: Vec<(RefName, Digest)>,
    /// Entries of `images` and `images/refs` that are not in this program's form.
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

    /// Returns whether a ref that was read before leads to a missing image. It may lead to another image by now.
    pub(crate) fn is_dangling(&self, name: &RefName, digest: &Digest) -> Result<bool, RepositoryError> {
        Ok(!self.has_image(digest)? && self.read_ref(name)? == Some(*digest))
    }

    /// Checks that the repository has an image, which `name` led to.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Dangling`], [`RepositoryError::NoSuchImage`]
    pub fn expect_image(&self, name: &ImageName, digest: &Digest) -> Result<(), RepositoryError> {
        if self.has_image(digest)? { Ok(()) } else { Err(self.no_image(name, digest)) }
    }

    /// Returns the error of a missing image, which `name` led to.
    pub(crate) fn no_image(&self, name: &ImageName, digest: &Digest) -> RepositoryError {
        if let Ok(Some(partial)) = self.partial_error(&ImageName::Digest(*digest)) {
            return partial;
        }
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

    /// Returns whether a mount or a program has an image open. If the kernel cannot tell, searches the visible mounts
    /// for the image. An image without an object is not open.
    ///
    /// # Errors
    ///
    /// If the object exists and cannot be opened: the image may be open then.
    pub(crate) fn is_open(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        let path = || self.objects.path_of(digest);
        let file = match self.objects.try_open(digest) {
            Ok(file) => file,
            // No object, or a symlink, socket or device in its place.
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

    /// Reads an image, and checks the digest of its whole file.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ImageObject`]
    pub fn read_image(&self, digest: &Digest) -> Result<ImageBytes, RepositoryError> {
        self.read_open_image(digest, self.open_image(digest)?.as_fd())
    }

    /// Reads an image from an open file, and checks the digest of the whole file. The position of the file is neither
    /// used nor changed.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ImageObject`]
    pub fn read_open_image(&self, digest: &Digest, file: BorrowedFd<'_>) -> Result<ImageBytes, RepositoryError> {
        let path: PathBuf = self.objects.path_of(digest);
        let wrong = |source| RepositoryError::ImageObject { digest: Box::new(*digest), source };
        let len = fstat(file).map_err(io_error("stat", &path))?.st_size;
        let len = u64::try_from(len).unwrap_or_default();
        // A file that grows meanwhile is no object any more.
        let image = ImageBytes::read(&mut FromStart { file, at: 0 }.take(len), Some(len), digest.algorithm())
            .map_err(|source| wrong(ObjectError::Io { step: "read", path: path.clone(), source }))?;
        if image.digest != *digest {
            let (expected, found) = (Box::new(*digest), Box::new(image.digest));
            return Err(wrong(ObjectError::Digest { path, expected, found }));
        }
        Ok(image)
    }
}

/// Reads a file from its beginning, whatever its position.
struct FromStart<'f> {
    file: BorrowedFd<'f>,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = rustix::io::pread(self.file, buffer, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}
