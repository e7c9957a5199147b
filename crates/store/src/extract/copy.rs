//! Writing contents, and comparing them with their digests before they get a name.
//!
//! The comparison covers the written file: bytes are hashed as they are written, and a clone, which shares the
//! extents of the object, is read. Holes stay holes, and blocks of zeros become holes.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};

use libcomposefs_content::digest_file;
use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_image::in_order;
use libcomposefs_image::tree::{Data, InodeId};
use libcomposefs_image::verity::{Hasher, hash_whole_blocks};
use libcomposefs_sys::copy::{READ_SIZE, write_all_at};
use libcomposefs_sys::sparse::{Holes, Stretch, write_sparse};
use libcomposefs_sys::tempfile::Temporary;
use rustix::fs::{fstat, ftruncate};

use super::context::ExtractContext;
use super::error::FileError;
use super::metadata::MetadataTarget;
use crate::object::Object;
use crate::object::error::ObjectError;

/// Contents from this length on are cloned if the file system can: for less the saved space is not worth a system
/// call.
const CLONE_MIN: u64 = 64 << 10;

/// Contents from this length on are copied by all threads together.
const SHARED_MIN: u64 = 16 << 20;

impl ExtractContext<'_> {
    /// Makes an unnamed file with the content and metadata of the inode.
    pub(super) fn make_file(&self, id: InodeId, buffer: &mut Vec<u8>) -> Result<Temporary, FileError> {
        let file = self.staging.file()?;
        let inode = self.tree.inode(id);
        if let Data::Regular { content, payload, digest } = inode.data() {
            match content {
                Some(content) => write_all_at(file.as_fd(), content, 0).map_err(FileError::io("write"))?,
                None if inode.size() == 0 => {}
                None => {
                    if digest.is_none() && !self.options.unverified {
                        return Err(FileError::NoDigest);
                    }
                    let object = self.basedirs.open_object(payload.as_deref().ok_or(FileError::NoObject)?)?;
                    object.expect_size(inode.size())?;
                    self.copy(&object, file.as_fd(), digest.as_ref(), buffer)?;
                    self.outcome().unverified += u64::from(digest.is_none());
                }
            }
        }
        self.outcome().bytes += inode.size();
        self.give_metadata(MetadataTarget::Open(file.as_fd()), id)?;
        Ok(file)
    }

    /// Fills an empty file with the content of an object.
    fn copy(
        &self,
        object: &Object,
        target: BorrowedFd<'_>,
        expected: Option<&Digest>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), FileError> {
        let algorithm = expected.map_or_else(Algorithm::default, Digest::algorithm);
        let size = object.size();
        let found = if size >= CLONE_MIN && self.try_clone(object, target)? {
            self.progress.bytes(size);
            self.outcome().cloned_bytes += size;
            // If there is no digest to compare with, the clone need not be read.
            expected.map(|_| digest_file(target, algorithm, self.threads)).transpose().map_err(FileError::io("read"))?
        } else if size >= SHARED_MIN && self.threads > NonZeroUsize::MIN {
            Some(self.copy_together(object, target, algorithm)?)
        } else {
            Some(self.copy_alone(object, target, algorithm, buffer)?)
        };
        match (expected, found) {
            (Some(expected), Some(found)) if found != *expected => {
                let (expected, found) = (Box::new(*expected), Box::new(found));
                Err(ObjectError::Digest { path: object.path().to_owned(), expected, found }.into())
            }
            _ => Ok(()),
        }
    }

    fn try_clone(&self, object: &Object, target: BorrowedFd<'_>) -> Result<bool, FileError> {
        // The type of the field differs between architectures.
        #[allow(clippy::unnecessary_cast)]
        let device = fstat(object).map_err(FileError::io("stat"))?.st_dev as u64;
        self.clones.try_clone(object.as_fd(), device, target).map_err(FileError::io("clone"))
    }

    /// Copies piece by piece. Returns the digest of the written bytes.
    fn copy_alone(
        &self,
        object: &Object,
        target: BorrowedFd<'_>,
        algorithm: Algorithm,
        buffer: &mut Vec<u8>,
    ) -> Result<Digest, FileError> {
        buffer.resize(READ_SIZE, 0);
        let mut hasher = Hasher::new(algorithm);
        let (mut offset, mut end, holes) = (0, 0, Holes::default());
        while offset < object.size() {
            let len = match read_piece(object, &holes, offset, buffer)? {
                Stretch::Bytes(piece) => {
                    hasher.update(piece);
                    if let Some(written) = write_sparse(target, piece, offset).map_err(FileError::io("write"))? {
                        end = written;
                    }
                    piece.len() as u64
                }
                Stretch::Zeros(len) => {
                    hasher.update_zeros(len);
                    len
                }
            };
            offset += len;
            self.progress.bytes(len);
        }
        end_at(target, end, object.size())?;
        Ok(hasher.finish())
    }

    /// Like [`copy_alone`](Self::copy_alone), on all threads: each reads, hashes and writes pieces, and the hashes
    /// are joined in order.
    fn copy_together(
        &self,
        object: &Object,
        target: BorrowedFd<'_>,
        algorithm: Algorithm,
    ) -> Result<Digest, FileError> {
        let (mut hasher, mut end, mut failure, holes) = (Hasher::new(algorithm), 0, None, Holes::default());
        let make = |number: u64, piece: &mut CopiedPiece| {
            let offset = number * READ_SIZE as u64;
            offset < object.size() && {
                piece.failure = piece.copy(object, &holes, target, algorithm, offset).err();
                self.progress.bytes(piece.len);
                true
            }
        };
        in_order(self.threads, make, |piece| {
            if piece.zeros {
                hasher.update_zeros(piece.len);
            } else {
                hasher.update_hashed(&piece.hashes);
                hasher.update(&piece.rest);
            }
            end = piece.end.unwrap_or(end);
            failure = failure.take().or(piece.failure.take());
            failure.is_none() && !self.is_stopped()
        });
        if let Some(error) = failure {
            return Err(error);
        }
        end_at(target, end, object.size())?;
        Ok(hasher.finish())
    }
}

/// A piece of a content that several threads copy.
#[derive(Default)]
struct CopiedPiece {
    buffer: Vec<u8>,
    /// Hashes of the whole blocks; `rest` has the bytes after them.
    hashes: Vec<u8>,
    rest: Vec<u8>,
    len: u64,
    /// Set if the piece is all zeros, which are not hashed here.
    zeros: bool,
    /// File offset after the last byte that was written.
    end: Option<u64>,
    failure: Option<FileError>,
}

impl CopiedPiece {
    fn copy(
        &mut self,
        object: &Object,
        holes: &Holes,
        target: BorrowedFd<'_>,
        algorithm: Algorithm,
        offset: u64,
    ) -> Result<(), FileError> {
        self.buffer.resize(READ_SIZE, 0);
        let stretch = read_piece(object, holes, offset, &mut self.buffer)?;
        self.zeros = matches!(stretch, Stretch::Zeros(_));
        let piece = match stretch {
            Stretch::Bytes(piece) => piece,
            Stretch::Zeros(len) => {
                (self.len, self.end) = (len, None);
                return Ok(());
            }
        };
        self.hashes.clear();
        let rest = hash_whole_blocks(algorithm, piece, &mut self.hashes);
        self.rest.clear();
        self.rest.extend_from_slice(rest);
        self.len = piece.len() as u64;
        self.end = write_sparse(target, piece, offset).map_err(FileError::io("write"))?;
        Ok(())
    }
}

/// Reads as much as fits into the buffer, but not past the size of the object.
fn read_piece<'b>(object: &Object, holes: &Holes, offset: u64, buffer: &'b mut [u8]) -> Result<Stretch<'b>, FileError> {
    let len = usize::try_from(object.size() - offset).unwrap_or(usize::MAX).min(buffer.len());
    let stretch = holes.fill(object.as_fd(), &mut buffer[..len], offset).map_err(|source| {
        FileError::Object(ObjectError::Io { step: "read", path: object.path().to_owned(), source })
    })?;
    let read = match stretch {
        Stretch::Bytes(piece) => piece.len() as u64,
        Stretch::Zeros(read) => read,
    };
    if read == len as u64 { Ok(stretch) } else { Err(ObjectError::Changed { path: object.path().to_owned() }.into()) }
}

/// Extends the file to its size, so that a hole at the end is part of it.
fn end_at(target: BorrowedFd<'_>, written: u64, size: u64) -> Result<(), FileError> {
    if written < size { ftruncate(target, size).map_err(FileError::io("write")) } else { Ok(()) }
}
