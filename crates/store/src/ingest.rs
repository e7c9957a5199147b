//! Writing a content to a temporary file, and computing the digest of the bytes written.
//!
//! Where the file system can share extents, large files are cloned. A clone is hashed by reading the source, whose
//! pages may be in memory already, if the source certainly has not changed meanwhile (`unchanged.rs`), else by
//! reading the clone. On other file systems the bytes that were read and hashed are written from memory. Only file
//! systems that can copy without moving the data through this machine do the copy themselves; then the copy is read,
//! as the source may have changed.
//!
//! Holes stay holes in each of these ways, and zeros that are written from memory become holes.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use libcomposefs_content::{SourceFile, digest_pieces};
use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_image::verity::Hasher;
use libcomposefs_sys::copy::{Copied, RangeCopier};
use libcomposefs_sys::fs_magic::FsMagic;
use libcomposefs_sys::sparse::{SparseWriter, Stretch, read_sparse};
use libcomposefs_sys::writeback::begin_writing;
use rustix::fs::{Mode, fchmod, fstat, ftruncate};

use crate::error::Error;
use crate::object_dir::ObjectDir;
use crate::reflink::ReflinkSupport;
use crate::unchanged::UnchangedCheck;

/// The mode of every object, independent of the umask.
const OBJECT_MODE: Mode = Mode::from_raw_mode(0o644);

/// Smaller contents that are in memory are written from there: reading the clone costs more than the saved space is
/// worth.
pub(crate) const CLONE_MIN: usize = 64 << 10;

/// Contents from this length on start writeback early, while other files are read. For less it is not worth a system
/// call.
const WRITE_SOON_MIN: usize = 64 << 10;
/// Bytes of a large file between two requests to start writeback.
const WRITE_SOON: u64 = 8 << 20;

/// File systems that may copy inside a server.
const REMOTE: [FsMagic; 5] = [FsMagic::NFS, FsMagic::CIFS, FsMagic::SMB2, FsMagic::CEPH, FsMagic::FUSE];

pub(crate) use libcomposefs_sys::tempfile::Temporary;

/// Copies files into the store, and remembers which copy methods work on this file system.
#[derive(Debug)]
pub(crate) struct Copier {
    clones: ReflinkSupport,
    /// Set once a file was cloned.
    has_cloned: AtomicBool,
    unchanged: UnchangedCheck,
    ranges: RangeCopier,
    is_remote: bool,
    /// Set if temporary files are created with the right mode.
    has_object_mode: OnceLock<bool>,
}

impl Copier {
    pub(crate) fn new(store: &ObjectDir) -> Self {
        Self {
            clones: ReflinkSupport::default(),
            has_cloned: AtomicBool::new(false),
            unchanged: UnchangedCheck::begin(),
            ranges: RangeCopier::default(),
            has_object_mode: OnceLock::new(),
            is_remote: store.is_on(&REMOTE),
        }
    }

    /// Returns true if files have been cloned: then a file need not be read before.
    pub(crate) fn has_cloned(&self) -> bool {
        self.has_cloned.load(Ordering::Relaxed)
    }

    /// Returns true if a file that was cloned after it was found, and read after that, certainly had the same content
    /// all the time.
    pub(crate) fn is_unchanged(&self, source: &SourceFile<'_>, clone: BorrowedFd<'_>) -> bool {
        self.unchanged.is_unchanged(source, clone)
    }

    /// Returns false if files of this device could not be cloned before.
    pub(crate) fn may_clone(&self, device: u64) -> bool {
        self.clones.may_clone(device)
    }

    /// Creates a temporary file that shares the extents of the source. `None` if that is not possible.
    pub(crate) fn clone_file(&self, store: &ObjectDir, source: &SourceFile<'_>) -> Result<Option<Temporary>, Error> {
        if !self.clones.may_clone(source.device) {
            return Ok(None);
        }
        let temporary = self.create(store)?;
        let cloned = self.clone_from(source, temporary.as_fd());
        Ok(cloned.map_err(|error| store.store_error("write a temporary file in", error))?.then_some(temporary))
    }

    /// Tries to make the temporary file share the extents of the source.
    fn clone_from(&self, source: &SourceFile<'_>, target: BorrowedFd<'_>) -> io::Result<bool> {
        let cloned = self.clones.try_clone(source.file, source.device, target)?;
        if cloned {
            self.has_cloned.store(true, Ordering::Relaxed);
        }
        Ok(cloned)
    }

    /// Creates a temporary file with the mode of an object. The umask of the process cannot be read without changing
    /// it, so the first file shows if it is in the way.
    pub(crate) fn create(&self, store: &ObjectDir) -> Result<Temporary, Error> {
        let failed = |error: io::Error| store.store_error("make a temporary file in", error);
        let temporary = Temporary::create(store.create_directory()?, OBJECT_MODE.as_raw_mode()).map_err(failed)?;
        let has_mode = || fstat(&temporary).map(|stat| Mode::from_raw_mode(stat.st_mode) == OBJECT_MODE);
        if !*self.has_object_mode.get_or_init(|| has_mode().unwrap_or(false)) {
            fchmod(&temporary, OBJECT_MODE).map_err(|errno| failed(errno.into()))?;
        }
        Ok(temporary)
    }

    /// Computes the digest of a file that was just cloned.
    fn digest_clone(
        &self,
        algorithm: Algorithm,
        source: &SourceFile<'_>,
        target: BorrowedFd<'_>,
        buffer: &mut [u8],
    ) -> io::Result<Digest> {
        match digest_pieces(source.file, algorithm, buffer) {
            Ok(digest) if self.unchanged.is_unchanged(source, target) => Ok(digest),
            _ => digest_pieces(target, algorithm, buffer),
        }
    }

    /// Creates a temporary file with these bytes.
    pub(crate) fn store_bytes(
        &self,
        store: &ObjectDir,
        digest: &Digest,
        content: &[u8],
        source: Option<&SourceFile<'_>>,
    ) -> Result<Temporary, Error> {
        let temporary = self.create(store)?;
        let failed = |error: io::Error| store.object_error("write", digest, error);
        let target = temporary.as_fd();
        if let Some(source) = source.filter(|_| content.len() >= CLONE_MIN)
            && self.clone_from(source, target).map_err(failed)?
        {
            let mut buffer = vec![0; CLONE_MIN];
            let stored = self.digest_clone(digest.algorithm(), source, target, &mut buffer).map_err(failed)?;
            if stored != *digest {
                return Err(Error::changed(digest, &stored));
            }
            return Ok(temporary);
        }
        let mut out = SparseWriter::new(target);
        out.write_all(content).and_then(|()| out.finish()).map_err(failed)?;
        if content.len() >= WRITE_SOON_MIN {
            begin_writing(target);
        }
        Ok(temporary)
    }

    /// Creates a temporary file with the content of a file. Returns it with its digest and size. Calls `proceed` now
    /// and then while bytes are copied, and stops with its error.
    pub(crate) fn store_file(
        &self,
        store: &ObjectDir,
        source: &SourceFile<'_>,
        buffer: &mut [u8],
        proceed: &dyn Fn() -> Result<(), Error>,
    ) -> Result<(Temporary, Digest, u64), Error> {
        let temporary = self.create(store)?;
        let target = temporary.as_fd();
        let write_failed = |error: io::Error| store.store_error("write a temporary file in", error);
        let stored = |digest: io::Result<Digest>| Ok::<_, Error>((digest?, SourceFile::of(target)?.size));
        if self.clone_from(source, target).map_err(write_failed)? {
            let digest = self.digest_clone(store.algorithm(), source, target, buffer);
            let (digest, size) = stored(digest)?;
            return Ok((temporary, digest, size));
        }
        if self.is_remote {
            if let Copied::Bytes(_) = self.ranges.copy(source.file, target, source.size).map_err(write_failed)? {
                begin_writing(target);
                let (digest, size) = stored(digest_pieces(target, store.algorithm(), buffer))?;
                return Ok((temporary, digest, size));
            }
            // The kernel may have copied a part before it failed.
            ftruncate(target, 0).map_err(|errno| write_failed(errno.into()))?;
        }
        let (digest, size) = Self::write_and_digest(store, source, target, buffer, proceed)?;
        Ok((temporary, digest, size))
    }

    /// Copies through a buffer.
    fn write_and_digest(
        store: &ObjectDir,
        source: &SourceFile<'_>,
        target: BorrowedFd<'_>,
        buffer: &mut [u8],
        proceed: &dyn Fn() -> Result<(), Error>,
    ) -> Result<(Digest, u64), Error> {
        let write_failed = |error: io::Error| store.store_error("write a temporary file in", error);
        let (mut hasher, mut out) = (Hasher::new(store.algorithm()), SparseWriter::new(target));
        let mut begun = 0;
        read_sparse(source.file, buffer, |offset, stretch| {
            match stretch {
                Stretch::Bytes(piece) => {
                    hasher.update(piece);
                    out.write_all(piece).map_err(write_failed)?;
                }
                Stretch::Zeros(len) => {
                    hasher.update_zeros(len);
                    out.skip(len);
                }
            }
            if offset - begun >= WRITE_SOON {
                proceed()?;
                begin_writing(target);
                begun = offset;
            }
            Ok::<_, Error>(())
        })?;
        let size = out.finish().map_err(write_failed)?;
        begin_writing(target);
        Ok((hasher.finish(), size))
    }
}

impl From<io::Error> for Error {
    /// Reading the content to be stored is the only step without a path.
    fn from(error: io::Error) -> Self {
        Error::Source(error)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::policy::StorePolicy;

    /// Copying one large file stops within a few megabytes.
    #[test]
    fn a_copy_ends_when_it_may_not_proceed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        std::fs::write(&path, vec![7; 40 << 20]).unwrap();
        let store = ObjectDir::open(dir.path(), Algorithm::Sha256, StorePolicy::default()).unwrap();
        let file = File::open(&path).unwrap();
        let source = SourceFile::of(file.as_fd()).unwrap();
        let asked = AtomicU32::new(0);
        let (temporary, mut buffer) = (tempfile::tempfile().unwrap(), vec![0; 1 << 20]);
        let mut copy = |limit: u32| {
            asked.store(0, Ordering::Relaxed);
            let proceed = || match asked.fetch_add(1, Ordering::Relaxed) {
                before if before + 1 < limit => Ok(()),
                _ => Err(Error::Interrupted),
            };
            Copier::write_and_digest(&store, &source, temporary.as_fd(), &mut buffer, &proceed)
        };
        assert!(matches!(copy(2), Err(Error::Interrupted)));
        assert!(temporary.metadata().unwrap().len() < 32 << 20);
        assert_eq!(copy(u32::MAX).unwrap().1, 40 << 20);
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }
}
