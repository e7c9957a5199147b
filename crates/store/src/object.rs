//! One object, open for reading, and the check of its content.
//!
//! A file that is read twice may have another content the second time. So [`copy_verified`](Object::copy_verified)
//! passes no byte on before it was checked. If fs-verity is enabled, the kernel checks each read itself. Else the
//! file is read once for its digest, keeping a hash of each piece, and then again, comparing each piece before it is
//! passed on. That takes 32 bytes of memory for each 512 KiB of content (SHA-512: 128). A content of at most one
//! piece is read only once.

pub(crate) mod error;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_image::verity::{BLOCK_SIZE, Hasher, digest, hash_whole_blocks};
use libcomposefs_sys::copy::fill;
use libcomposefs_sys::verity::{Measurement, measure};
use rustix::fs::Stat;

use self::error::ObjectError;

use crate::verity::digest_of;

/// Bytes that are read, checked and passed on at a time: the amount that one block of SHA-256 hashes covers.
const CHECKED_SIZE: usize = 128 * BLOCK_SIZE;

/// An open regular file under the name of an object.
#[derive(Debug)]
pub struct Object {
    file: OwnedFd,
    path: PathBuf,
    size: u64,
    disk_size: u64,
}

/// The way in which a content was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifiedBy {
    /// By the kernel, at every read: fs-verity is enabled with this digest.
    Kernel,
    /// By reading and hashing the content.
    Hashed,
}

impl Object {
    /// Wraps an open file with its path and metadata. The size is taken from the metadata.
    #[must_use]
    pub fn new(file: OwnedFd, path: PathBuf, stat: &Stat) -> Self {
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let disk_size = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512);
        Self { file, path, size, disk_size }
    }

    /// Returns the path: the object directory joined with the payload. Not escaped.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the length of the file when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the disk space of the file when it was opened, in bytes.
    #[must_use]
    pub fn disk_size(&self) -> u64 {
        self.disk_size
    }

    /// Returns the first bytes of the content, as many as there are up to a number. They are not verified.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Io`] if the file cannot be read.
    pub fn beginning(&self, max: usize) -> Result<Vec<u8>, ObjectError> {
        let mut bytes = vec![0; max];
        let len = fill(self.as_fd(), &mut bytes, 0).map_err(|source| self.io_error("read", source))?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Compares the length with the one in the image. This needs no system call, so it comes before reading.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Size`] if the lengths differ.
    pub fn expect_size(&self, expected: u64) -> Result<(), ObjectError> {
        if self.size == expected {
            return Ok(());
        }
        Err(ObjectError::Size { path: self.path.clone(), expected, found: self.size })
    }

    /// Checks the whole content against its digest. Later reads can return something else, unless the kernel verifies
    /// them.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Digest`] if the content has another digest.
    pub fn verify(&self, expected: &Digest) -> Result<VerifiedBy, ObjectError> {
        if self.kernel_vouches(expected)? {
            return Ok(VerifiedBy::Kernel);
        }
        let mut hasher = Hasher::new(expected.algorithm());
        self.each_piece(|piece| {
            hasher.update(piece);
            Ok::<_, ObjectError>(())
        })?;
        self.compare(expected, &hasher.finish()).map(|()| VerifiedBy::Hashed)
    }

    /// Passes the content to `sink`, piece by piece, each checked before.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Digest`] if the content has another digest: then `sink` was not called.
    /// [`ObjectError::Changed`] if the file changed between the check and the copy: the bytes passed until then are
    /// right. Errors of `sink` are returned as well.
    pub fn copy_verified<E: From<ObjectError>>(
        &self,
        expected: &Digest,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<VerifiedBy, E> {
        if self.kernel_vouches(expected)? {
            self.each_piece(sink)?;
            return Ok(VerifiedBy::Kernel);
        }
        let algorithm = expected.algorithm();
        if self.size <= CHECKED_SIZE as u64 {
            let content = self.small_content()?;
            self.compare(expected, &digest(algorithm, &content))?;
            sink(&content)?;
            return Ok(VerifiedBy::Hashed);
        }
        let mut hashes = self.hash_pieces(expected)?.into_iter();
        self.each_piece(|piece| {
            if hashes.next().is_some_and(|hash| hash == PieceHash::new(algorithm, piece).hash) {
                return sink(piece);
            }
            Err(self.changed().into())
        })?;
        Ok(VerifiedBy::Hashed)
    }

    /// Passes the content to `sink` without a check, for files whose digest the image does not record.
    ///
    /// # Errors
    ///
    /// Reading or `sink` failed.
    pub fn copy_unverified<E: From<ObjectError>>(&self, sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.each_piece(sink)
    }

    /// Returns true if fs-verity is enabled with this digest, so that each read returns this content or fails. With
    /// another fs-verity digest, for example of larger blocks or with a salt, the content may still be right.
    ///
    /// # Errors
    ///
    /// The `ioctl` failed.
    pub fn kernel_vouches(&self, expected: &Digest) -> Result<bool, ObjectError> {
        match measure(&self.file).map_err(|source| self.io_error("measure", source))? {
            Measurement::Digest(found) => Ok(digest_of(found.algorithm, &found.digest) == Some(*expected)),
            Measurement::NotEnabled | Measurement::Unsupported | Measurement::Refused(_) => Ok(false),
        }
    }

    /// Reads the content to compare its digest, and returns a hash of each piece.
    fn hash_pieces(&self, expected: &Digest) -> Result<Vec<Vec<u8>>, ObjectError> {
        let algorithm = expected.algorithm();
        let (mut hasher, mut hashes) = (Hasher::new(algorithm), Vec::new());
        self.each_piece(|piece| {
            let PieceHash { whole, rest, hash } = PieceHash::new(algorithm, piece);
            hasher.update_hashed(&whole);
            hasher.update(rest);
            hashes.push(hash);
            Ok::<_, ObjectError>(())
        })?;
        self.compare(expected, &hasher.finish())?;
        Ok(hashes)
    }

    fn small_content(&self) -> Result<Vec<u8>, ObjectError> {
        let mut content = Vec::new();
        self.each_piece(|piece| {
            content.extend_from_slice(piece);
            Ok::<_, ObjectError>(())
        })?;
        Ok(content)
    }

    /// Reads the whole content, in pieces of equal length except the last.
    fn each_piece<E: From<ObjectError>>(&self, mut show: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut buffer = vec![0; usize::try_from(self.size).unwrap_or(CHECKED_SIZE).min(CHECKED_SIZE)];
        let mut offset = 0;
        while offset < self.size {
            let room = usize::try_from(self.size - offset).unwrap_or(CHECKED_SIZE).min(CHECKED_SIZE);
            let piece = &mut buffer[..room];
            let read = fill(self.as_fd(), piece, offset).map_err(|source| self.io_error("read", source))?;
            if read < room {
                return Err(self.changed().into());
            }
            show(piece)?;
            offset += room as u64;
        }
        Ok(())
    }

    fn compare(&self, expected: &Digest, found: &Digest) -> Result<(), ObjectError> {
        if found == expected {
            return Ok(());
        }
        let (expected, found) = (Box::new(*expected), Box::new(*found));
        Err(ObjectError::Digest { path: self.path.clone(), expected, found })
    }

    fn changed(&self) -> ObjectError {
        ObjectError::Changed { path: self.path.clone() }
    }

    fn io_error(&self, step: &'static str, source: std::io::Error) -> ObjectError {
        ObjectError::Io { step, path: self.path.clone(), source }
    }
}

impl AsFd for Object {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The hashes of one piece.
struct PieceHash<'p> {
    /// Hashes of the whole blocks.
    whole: Vec<u8>,
    /// Bytes after the last whole block.
    rest: &'p [u8],
    /// Hash of the hashes of all blocks: the next level of the Merkle tree.
    hash: Vec<u8>,
}

impl<'p> PieceHash<'p> {
    fn new(algorithm: Algorithm, piece: &'p [u8]) -> Self {
        let mut whole = Vec::new();
        let rest = hash_whole_blocks(algorithm, piece, &mut whole);
        let mut blocks = whole.clone();
        if !rest.is_empty() {
            let mut block = rest.to_vec();
            block.resize(BLOCK_SIZE, 0);
            hash_whole_blocks(algorithm, &block, &mut blocks);
        }
        blocks.resize(blocks.len().next_multiple_of(BLOCK_SIZE), 0);
        let mut hash = Vec::new();
        hash_whole_blocks(algorithm, &blocks, &mut hash);
        Self { whole, rest, hash }
    }
}
