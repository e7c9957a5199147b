//! Getting a content into a temporary, and the digest of what is in there.
//!
//! Where the file system shares extents, large files are cloned, and what was cloned is read where it is in memory already:
//! in the source, if that is certain not to have changed meanwhile (`unchanged.rs`), else in the clone. Where it does not, what
//! was read and hashed is written from memory. Only file systems that copy without the data passing through this
//! machine are left to do so; then the copy is read, as the source may have changed.
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
use libcomposefs_sys::sparse::{SparseWriter, Stretch, read_sparse};
use libcomposefs_sys::writeback::begin_writing;
use rustix::fs::{Mode, fchmod, fstat, fstatfs, ftruncate};

use crate::error::Error;
use crate::object_dir::ObjectDir;
use crate::reflink::ReflinkSupport;
use crate::unchanged::UnchangedCheck;

/// The mode of every object, whatever the umask.
const OBJECT_MODE: Mode = Mode::from_raw_mode(0o644);

/// Smaller contents that are in memory are written from there: reading the clone costs more than the space is worth.
pub(crate) const CLONE_MIN: usize = 64 << 10;

/// Contents from this length on are on their way to the disk while others are read. It is not worth a call for less.
const WRITE_SOON_MIN: usize = 64 << 10;
/// Of a large file as much is written before the disk is told again.
const WRITE_SOON: u64 = 8 << 20;

/// File systems that may copy inside a server: NFS, SMB twice, Ceph, FUSE (`include/uapi/linux/magic.h`).
const REMOTE: [u32; 5] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x6573_5546];

pub(crate) use libcomposefs_sys::tempfile::Temporary;

/// What has turned out about the ways to copy.
#[derive(Debug)]
pub(crate) struct Copier {
    clones: ReflinkSupport,
    /// Whether any did.
    has_cloned: AtomicBool,
    unchanged: UnchangedCheck,
    ranges: RangeCopier,
    is_remote: bool,
    /// Whether temporaries are made with the right mode.
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
            is_remote: fstatfs(store).is_ok_and(|fs| REMOTE.contains(&(fs.f_type as u32))),
        }
    }

    /// Whether files have been cloned: then there is no need to read one before.
    pub(crate) fn has_cloned(&self) -> bool {
        self.has_cloned.load(Ordering::Relaxed)
    }

    /// Tries to make the temporary share the extents of the source.
    fn clone_from(&self, source: &SourceFile<'_>, target: BorrowedFd<'_>) -> io::Result<bool> {
        let cloned = self.clones.try_clone(source.file, source.device, target)?;
        if cloned {
            self.has_cloned.store(true, Ordering::Relaxed);
        }
        Ok(cloned)
    }

    /// A new temporary with the mode of an object. The process's umask, which cannot be asked without being changed, shows in
    /// the first one.
    pub(crate) fn create(&self, store: &ObjectDir) -> Result<Temporary, Error> {
        let failed = |error: io::Error| store.store_error("make a temporary file in", error);
        let temporary = Temporary::create(&store.directory, OBJECT_MODE.as_raw_mode()).map_err(failed)?;
        let has_mode = || fstat(&temporary).map(|stat| Mode::from_raw_mode(stat.st_mode) == OBJECT_MODE);
        if !*self.has_object_mode.get_or_init(|| has_mode().unwrap_or(false)) {
            fchmod(&temporary, OBJECT_MODE).map_err(|errno| failed(errno.into()))?;
        }
        Ok(temporary)
    }

    /// The digest of what was just cloned.
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

    /// A temporary that holds these bytes.
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

    /// A temporary that holds what the file holds, with its digest and size. `proceed` is asked from time to time while bytes are
    /// copied, and its error ends that.
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
            // Some of it may have been copied before the kernel gave up.
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
    /// Reading what is to be stored is the one step without a path of its own.
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

    /// One large file is given up within a few megabytes.
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
