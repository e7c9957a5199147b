//! Checking an object that exists already.
//!
//! A store is a directory that other processes write to as well, and the machine may have lost power while one of
//! them did. So a name alone is not trusted. Depending on the policy the fs-verity digest is measured, the size is
//! compared, or the whole content is read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use libcomposefs_content::digest_pieces;
use libcomposefs_image::digest::Digest;
use libcomposefs_sys::copy::{READ_SIZE, fill};
use rustix::fs::{FileType, Stat, fstat};
use rustix::io::Errno;

use crate::error::Error;
use crate::object_dir::ObjectDir;
use crate::policy::VerifyExisting;
use crate::verity::VerityState;

/// The content that the object must have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ExpectedContent<'a> {
    /// Exactly the bytes of this slice.
    Bytes(&'a [u8]),
    /// This many bytes, with the digest.
    Size(u64),
}

impl ExpectedContent<'_> {
    pub(crate) fn size(&self) -> u64 {
        match self {
            ExpectedContent::Bytes(bytes) => bytes.len() as u64,
            ExpectedContent::Size(size) => *size,
        }
    }
}

/// The state of the file under the name of an object.
#[derive(Debug)]
pub(crate) enum Presence {
    Absent,
    /// The intact object, open if it had to be opened.
    Right(Option<OwnedFd>),
    /// The intact object without fs-verity, which must not be enabled in place: the file has other hard links, or
    /// another owner. It must be replaced by a copy.
    Shared(OwnedFd),
    /// A file that must be replaced.
    Wrong,
}

impl ObjectDir {
    /// Checks the object of this digest. Enables fs-verity on an intact object that lacks it.
    pub(crate) fn check(&self, digest: &Digest, expected: ExpectedContent<'_>) -> Result<Presence, Error> {
        if let Some(presence) = self.check_by_look(digest, expected.size()) {
            return Ok(presence);
        }
        let file = match self.try_open(digest) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Presence::Absent),
            // A symlink, a socket, or a device without a driver; or the directory above is a symlink.
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => {
                return self.fan(&digest.object_path()[..2]).map(|_| Presence::Wrong);
            }
            Err(Errno::NOTDIR) => {
                return Err(Error::NotAnObjectDirectory { path: self.path().join(&digest.object_path()[..2]) });
            }
            Err(errno) => return Err(self.object_error("open", digest, errno)),
        };
        if self.is_vouched(file.as_fd(), digest) {
            return Ok(Presence::Right(Some(file)));
        }
        let stat = fstat(&file).map_err(|errno| self.object_error("stat", digest, errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Error::DirectoryInTheWay { path: self.path_of(digest) }),
            _ => return Ok(Presence::Wrong),
        }
        if u64::try_from(stat.st_size) != Ok(expected.size()) {
            return Ok(Presence::Wrong);
        }
        let right = match self.vouched(file.as_fd(), digest)? {
            VerityState::Right => return Ok(Presence::Right(Some(file))),
            VerityState::Wrong => false,
            VerityState::No => self.has_content(file.as_fd(), digest, expected)?,
        };
        if !right {
            return Ok(Presence::Wrong);
        }
        if self.wants_verity() && self.is_shared(&stat) {
            return Ok(Presence::Shared(file));
        }
        match self.seal(file.as_fd(), digest, false) {
            Ok(()) => Ok(Presence::Right(Some(file))),
            // Only sizes were compared, or the file has changed since.
            Err(Error::Measured { .. }) => Ok(Presence::Wrong),
            Err(error) => Err(error),
        }
    }

    /// Checks type and size by name, without opening the file. Sufficient if fs-verity is neither supported nor
    /// wanted and the policy compares sizes only. Returns `None` if the file must be opened.
    fn check_by_look(&self, digest: &Digest, size: u64) -> Option<Presence> {
        let suffices = self.policy().verify_existing == VerifyExisting::Sizes
            && self.no_verity.load(Ordering::Relaxed)
            && !self.wants_verity();
        if !suffices {
            return None;
        }
        match self.try_stat(digest) {
            Ok(stat) => {
                let is_right = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                    && u64::try_from(stat.st_size) == Ok(size);
                is_right.then_some(Presence::Right(None))
            }
            Err(Errno::NOENT) => Some(Presence::Absent),
            Err(_) => None,
        }
    }

    /// Returns true if changing the file in place would affect others: it has other hard links, or belongs neither to
    /// this user nor to the owner of the store.
    #[must_use]
    pub fn is_shared(&self, stat: &Stat) -> bool {
        let is_foreign = || {
            stat.st_uid != rustix::process::geteuid().as_raw()
                && !self.directory().and_then(fstat).is_ok_and(|store| store.st_uid == stat.st_uid)
        };
        stat.st_nlink > 1 || is_foreign()
    }

    fn has_content(&self, file: BorrowedFd<'_>, digest: &Digest, expected: ExpectedContent<'_>) -> Result<bool, Error> {
        if self.policy().verify_existing == VerifyExisting::Sizes {
            return Ok(true);
        }
        let result = match expected {
            ExpectedContent::Bytes(bytes) => equals(file, bytes),
            ExpectedContent::Size(size) => {
                let mut buffer = vec![0; usize::try_from(size).unwrap_or(READ_SIZE).clamp(1, READ_SIZE)];
                digest_pieces(file, digest.algorithm(), &mut buffer).map(|found| found == *digest)
            }
        };
        result.map_err(|error| self.object_error("read", digest, error))
    }
}

/// Returns true if a file of the same size has exactly these bytes.
fn equals(file: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<bool> {
    let mut buffer = vec![0; bytes.len().min(READ_SIZE)];
    let mut offset = 0;
    for piece in bytes.chunks(READ_SIZE) {
        let read = &mut buffer[..piece.len()];
        if fill(file, read, offset)? != piece.len() || read != piece {
            return Ok(false);
        }
        offset += piece.len() as u64;
    }
    Ok(true)
}
