//! Getting a content into a temporary, and the digest of what is in there.
//!
//! Where the file system shares extents, large files are cloned. Otherwise what is in memory is written from there, and
//! larger files are copied inside the kernel or, where it cannot, through a buffer. Whoever writes from memory has the
//! digest of that memory; after a clone or a copy inside the kernel the temporary is read: the source may have changed.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::PoisonError;
use std::sync::RwLock;

use composefs_image::digest::Digest;
use composefs_image::verity::Hasher;
use composefs_scan::{SourceFile, digest_pieces};
use composefs_sys::copy::{Cloned, Copied, RangeCopier, clone_file, read_all, write_all_at};
use composefs_sys::writeback::begin_writing;
use rustix::fs::{Mode, ftruncate};

use crate::error::Error;
use crate::object_dir::ObjectDir;

/// The mode of every object, whatever the umask.
const OBJECT_MODE: Mode = Mode::from_raw_mode(0o644);

/// Smaller contents that are in memory are written from there: reading the clone costs more than the space is worth.
pub(crate) const CLONE_MIN: usize = 64 << 10;

/// Contents from this length on are on their way to the disk while others are read. It is not worth a call for less.
const WRITE_SOON_MIN: usize = 64 << 10;

pub(crate) use composefs_sys::tempfile::Temporary;

/// What has turned out about the ways to copy.
#[derive(Debug, Default)]
pub(crate) struct Copier {
    /// Device numbers of file systems that share no extents with the store.
    no_clone: RwLock<HashSet<u64>>,
    ranges: RangeCopier,
}

impl Copier {
    /// Tries to make the temporary share the extents of the source.
    fn clone_from(&self, source: &SourceFile<'_>, target: BorrowedFd<'_>) -> io::Result<bool> {
        if self.no_clone.read().unwrap_or_else(PoisonError::into_inner).contains(&source.device) {
            return Ok(false);
        }
        match clone_file(source.file, target)? {
            Cloned::Yes => Ok(true),
            Cloned::NotThese => Ok(false),
            Cloned::NotHere => {
                self.no_clone.write().unwrap_or_else(PoisonError::into_inner).insert(source.device);
                Ok(false)
            }
        }
    }

    /// A temporary that holds these bytes.
    pub(crate) fn store_bytes(
        &self,
        store: &ObjectDir,
        digest: &Digest,
        content: &[u8],
        source: Option<&SourceFile<'_>>,
    ) -> Result<Temporary, Error> {
        let temporary = create(store)?;
        let failed = |error: io::Error| store.object_error("write", digest, error);
        let target = temporary.as_fd();
        if let Some(source) = source.filter(|_| content.len() >= CLONE_MIN)
            && self.clone_from(source, target).map_err(failed)?
        {
            let mut buffer = vec![0; CLONE_MIN];
            let stored = digest_pieces(target, digest.algorithm(), &mut buffer).map_err(failed)?;
            if stored != *digest {
                return Err(Error::changed(digest, &stored));
            }
            return Ok(temporary);
        }
        write_all_at(target, content, 0).map_err(failed)?;
        if content.len() >= WRITE_SOON_MIN {
            begin_writing(target);
        }
        Ok(temporary)
    }

    /// A temporary that holds what the file holds, with its digest and size.
    pub(crate) fn store_file(
        &self,
        store: &ObjectDir,
        source: &SourceFile<'_>,
        buffer: &mut [u8],
    ) -> Result<(Temporary, Digest, u64), Error> {
        let temporary = create(store)?;
        let target = temporary.as_fd();
        let write_failed = |error: io::Error| store.store_error("write a temporary file in", error);
        let mut hasher = Hasher::new(store.algorithm());
        let cloned = self.clone_from(source, target).map_err(write_failed)?;
        let copied = cloned
            || match self.ranges.copy(source.file, target, source.size).map_err(write_failed)? {
                Copied::Bytes(_) => true,
                Copied::NotThisWay => {
                    // Some of it may have been copied before the kernel gave up.
                    ftruncate(target, 0).map_err(|errno| write_failed(errno.into()))?;
                    false
                }
            };
        if copied && !cloned {
            begin_writing(target);
        }
        let from = if copied { target } else { source.file };
        let size = read_all(from, buffer, |offset, piece| {
            hasher.update(piece);
            if copied { Ok(()) } else { write_all_at(target, piece, offset).map_err(write_failed) }
        })?;
        if !copied {
            begin_writing(target);
        }
        let digest = hasher.finish();
        Ok((temporary, digest, size))
    }
}

impl From<io::Error> for Error {
    /// Reading what is to be stored is the one step without a path of its own.
    fn from(error: io::Error) -> Self {
        Error::Source(error)
    }
}

fn create(store: &ObjectDir) -> Result<Temporary, Error> {
    let failed = |error: io::Error| store.store_error("make a temporary file in", error);
    let temporary = Temporary::create(&store.directory, 0o600).map_err(failed)?;
    rustix::fs::fchmod(&temporary, OBJECT_MODE).map_err(|errno| failed(errno.into()))?;
    Ok(temporary)
}
