//! The role that reads images, which gc does not remove meanwhile.
//!
//! A reader has a lease if it can make one. It cannot on a full or read-only disk, or in the repository of another
//! user; and while another process holds the lock of the repository, a gc may not have read the lease. The reader then
//! opens the image and checks again (`docs/format/repository.md`, section 5, "Readers").

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::time::Duration;

use libcomposefs_image::Digest;
use rustix::fs::fstat;
use rustix::io::Errno;

use super::lease::Lease;
use super::{ImageName, Repository, RepositoryError, io_error};
use libcomposefs_store::Error;
use libcomposefs_store::GcGuard as _;

/// Longest time that a reader waits for the lock of the repository. Every user who may open the directory can hold the
/// lock forever.
pub const READER_WAITS: Duration = Duration::from_secs(5);
/// Longest time that the link of an open image may be missing: a gc that sees that the image is open puts the link
/// back.
const LINK_RETURNS: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);
/// Number of attempts to follow a name or link that changes meanwhile.
const TRIES: usize = 8;

/// A reader's claim on images and all that they need, as long as this lives.
#[derive(Debug)]
pub struct Reader<'r> {
    repository: &'r Repository,
    lease: Option<Lease>,
    /// True if every gc reads the lease before its next step.
    is_certain: Cell<bool>,
    /// Longest time that the next call waits for the lock.
    wait_limit: Cell<Duration>,
}

/// Protects an image until it is dropped.
#[derive(Debug)]
pub(crate) struct HeldImage {
    _open: Option<OwnedFd>,
}

impl Repository {
    /// Begins to read images. Without permission or space for a lease, the reader continues without one.
    ///
    /// # Errors
    ///
    /// If the operation was cancelled.
    pub fn reader(&self) -> Result<Reader<'_>, RepositoryError> {
        let lease = match self.lease() {
            Ok(lease) => Some(lease),
            Err(error @ RepositoryError::Store(Error::Interrupted)) => return Err(error),
            Err(_) => None,
        };
        Ok(Reader { repository: self, lease, is_certain: Cell::new(false), wait_limit: Cell::new(READER_WAITS) })
    }
}

impl<'r> Reader<'r> {
    /// Returns the repository that is read.
    #[must_use]
    pub fn repository(&self) -> &'r Repository {
        self.repository
    }

    /// Protects images, and returns whether every gc will know. If not, an image is kept only while it is open.
    ///
    /// # Errors
    ///
    /// If the operation was cancelled.
    pub fn protect(&self, images: &[Digest]) -> Result<bool, RepositoryError> {
        let Some(lease) = &self.lease else { return Ok(false) };
        match lease.protect_within(images, self.wait_limit.get()) {
            Ok(()) => self.is_certain.set(true),
            Err(error @ Error::Interrupted) => return Err(error.into()),
            // The disk is full, or another process holds the lock: waiting again is of no use.
            Err(_) => {
                self.is_certain.set(false);
                self.wait_limit.set(Duration::ZERO);
            }
        }
        Ok(self.is_certain.get())
    }

    /// Protects an image and opens its object; `None` if the repository has no such image. The image and all objects
    /// that it needs are kept as long as both the file is open and this reader lives.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ImageObject`], or if the operation was cancelled.
    pub fn open(&self, image: &Digest) -> Result<Option<OwnedFd>, RepositoryError> {
        let is_certain = self.protect(&[*image])?;
        for _ in 0..TRIES {
            let file = match self.repository.open_image(image) {
                Ok(file) => file,
                Err(error) => return if self.repository.has_image(image)? { Err(error) } else { Ok(None) },
            };
            // From here on a gc sees that the image is open. If it did not, it had removed the link before.
            if !self.link_is_there(image, is_certain)? {
                return Ok(None);
            }
            if self.is_object(image, &file)? {
                return Ok(Some(file));
            }
        }
        Err(RepositoryError::NoSuchImage { digest: Box::new(*image), path: self.repository.dir.path.clone() })
    }

    /// Protects an image until the returned value is dropped; `None` if the repository has no such image.
    pub(crate) fn hold(&self, image: &Digest) -> Result<Option<HeldImage>, RepositoryError> {
        Ok(self.open(image)?.map(|file| self.held(file)))
    }

    /// Resolves a name to its image, and opens that.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NoSuchRef`], [`RepositoryError::NoSuchImage`], [`RepositoryError::Dangling`] and those of
    /// [`open`](Self::open).
    pub fn open_named(&self, name: &ImageName) -> Result<(Digest, OwnedFd), RepositoryError> {
        let mut digest = self.repository.resolve(name)?;
        for _ in 0..TRIES {
            if let Some(file) = self.open(&digest)? {
                return Ok((digest, file));
            }
            // The name may have been given to another image, and the first one removed.
            let now = self.repository.resolve(name)?;
            if now == digest {
                break;
            }
            digest = now;
        }
        self.repository.expect_image(name, &digest)?;
        Err(RepositoryError::NoSuchImage { digest: Box::new(digest), path: self.repository.dir.path.clone() })
    }

    /// Resolves a name to its image, and protects that until the returned value is dropped.
    pub(crate) fn hold_named(&self, name: &ImageName) -> Result<(Digest, HeldImage), RepositoryError> {
        let (digest, file) = self.open_named(name)?;
        Ok((digest, self.held(file)))
    }

    /// Keeps the file open only if a gc may not have read the lease.
    fn held(&self, file: OwnedFd) -> HeldImage {
        HeldImage { _open: (!self.is_certain.get()).then_some(file) }
    }

    fn link_is_there(&self, image: &Digest, is_certain: bool) -> Result<bool, RepositoryError> {
        let mut waited = Duration::ZERO;
        while !self.repository.has_image(image)? {
            if is_certain || waited >= LINK_RETURNS {
                return Ok(false);
            }
            if let Some(lease) = &self.lease {
                lease.proceed()?;
            }
            std::thread::sleep(PAUSE);
            waited += PAUSE;
        }
        Ok(true)
    }

    /// Returns whether a file is the one that the link of the image leads to now.
    fn is_object(&self, image: &Digest, file: &OwnedFd) -> Result<bool, RepositoryError> {
        let failed = || io_error("stat", self.repository.objects.path_of(image));
        let opened = fstat(file).map_err(failed())?;
        match self.repository.objects.try_stat(image) {
            Ok(now) => Ok((now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(failed()(errno)),
        }
    }
}
