//! The leases of other processes, read before anything is removed.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use libcomposefs_image::Digest;
use libcomposefs_store::ObjectDir;
use libcomposefs_sys::copy::{READ_SIZE, fill};
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, RenameFlags, flock, openat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::{GC_LOCK, Lease, open_gc_lock};
use crate::digest_set::DigestSet;
use crate::dir::{LinkEntry, RepoDir, read_link};
use crate::error::io_error;
use crate::lock::cannot_lock;
use crate::oci_stream_kind::OciStreamKind;
use crate::wait::LockMode;
use crate::{RepositoryError, layout};

/// Prefix of the name of a link of an image or stream that a gc has moved aside.
const ASIDE: &str = "gc.";

const OPEN: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The objects and images that leases protect.
#[derive(Debug)]
pub(crate) struct LeaseReader {
    directory: OwnedFd,
    path: PathBuf,
    /// `gc.lock`, if held. Leases that end meanwhile stay.
    _gc_lock: Option<OwnedFd>,
    /// Name of a lease to skip.
    own: Option<Vec<u8>>,
    /// The open leases, by name, with the number of bytes read.
    seen: HashMap<Vec<u8>, (OwnedFd, u64)>,
    /// Digests that the leases protect.
    pub(crate) claimed: DigestSet,
    /// Number of leases that were deleted because their process has ended.
    pub(crate) cleared: u64,
}

impl LeaseReader {
    /// Starts a gc: takes `gc.lock` and deletes the leases of processes that have ended. The refs of those processes
    /// are visible, so refs must be read after this.
    pub(crate) fn begin_gc(dir: &RepoDir, objects: &ObjectDir) -> Result<Self, RepositoryError> {
        let directory = dir.make_dir(layout::LEASES)?;
        let path = dir.path.join(layout::LEASES);
        let gc_lock = open_gc_lock(directory.as_fd()).map_err(io_error("open", path.join(GC_LOCK)))?;
        let lock_path = path.join(GC_LOCK);
        dir.wait.lock(&gc_lock, LockMode::Exclusive, &lock_path).map_err(cannot_lock(&lock_path))?;
        let mut reader = Self::new(dir, directory, Some(gc_lock));
        reader.put_back_aside(dir, objects)?;
        reader.put_back_streams(dir, objects)?;
        reader.clear()?;
        Ok(reader)
    }

    /// Opens the directory of leases without a lock; `None` if it does not exist. A lease that ends meanwhile is not
    /// seen.
    pub(crate) fn look(dir: &RepoDir) -> Result<Option<Self>, RepositoryError> {
        Ok(dir.open_dir(layout::LEASES)?.map(|directory| Self::new(dir, directory, None)))
    }

    /// Opens the directory of leases without a lock, to read all leases except `own`.
    pub(crate) fn look_at_others(dir: &RepoDir, own: &Lease) -> Result<Option<Self>, RepositoryError> {
        let reader = Self::look(dir)?;
        Ok(reader.map(|reader| Self { own: Some(own.name().as_bytes().to_vec()), ..reader }))
    }

    fn new(dir: &RepoDir, directory: OwnedFd, gc_lock: Option<OwnedFd>) -> Self {
        Self {
            directory,
            path: dir.path.join(layout::LEASES),
            _gc_lock: gc_lock,
            own: None,
            seen: HashMap::new(),
            claimed: DigestSet::new(dir.algorithm),
            cleared: 0,
        }
    }

    /// Moves back the image links that a gc had moved aside when it was killed: an image may be open. This gc decides
    /// on them again.
    fn put_back_aside(&self, dir: &RepoDir, objects: &ObjectDir) -> Result<(), RepositoryError> {
        let Some(images) = dir.open_dir(layout::IMAGES)? else { return Ok(()) };
        for name in self.names()? {
            let digest = name.strip_prefix(ASIDE.as_bytes()).and_then(|hex| Digest::from_hex(hex).ok());
            let Some(digest) = digest.filter(|digest| objects.try_stat(digest).is_ok()) else { continue };
            self.put_back(&name, &images, &digest.to_hex())?;
        }
        Ok(())
    }

    /// Moves back the links of streams that a gc had moved aside when it was killed.
    fn put_back_streams(&self, dir: &RepoDir, objects: &ObjectDir) -> Result<(), RepositoryError> {
        let Some(streams) = dir.open_dir(layout::STREAMS)? else { return Ok(()) };
        for name in self.names()? {
            let stream = name.strip_prefix(ASIDE.as_bytes()).and_then(|name| std::str::from_utf8(name).ok());
            let Some(stream) = stream.filter(|name| OciStreamKind::of_name(name).is_some()) else { continue };
            let LinkEntry::Link(text) =
                read_link(self.directory.as_fd(), &name).map_err(|errno| self.failed("read", &name)(errno))?
            else {
                continue;
            };
            if layout::parse_object_link(&text).is_some_and(|digest| objects.try_stat(&digest).is_ok()) {
                self.put_back(&name, &streams, stream)?;
            }
        }
        Ok(())
    }

    /// Moves back one link, unless another process has made it again.
    fn put_back(&self, name: &[u8], directory: &OwnedFd, back: &str) -> Result<(), RepositoryError> {
        match renameat_with(&self.directory, name, directory, back, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::NOENT | Errno::EXIST) => Ok(()),
            Err(errno) => Err(self.failed("move back", name)(errno)),
        }
    }

    /// Returns the directory of leases.
    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Returns a name in the directory of leases for the link of an image or stream while gc decides on it. After a
    /// crash the next gc moves it back.
    pub(crate) fn aside(&self, link: &str) -> String {
        format!("{ASIDE}{link}")
    }

    /// Deletes the leases of processes that have ended, and their temporary files.
    pub(crate) fn clear(&mut self) -> Result<(), RepositoryError> {
        let names = self.names()?;
        for name in names.iter().filter(|name| !name.contains(&b'.')) {
            let Some(file) = self.open(name)? else { continue };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // A process that has just made this lease sees, once it holds the lock, that the file has no name any
                // more.
                match unlinkat(&self.directory, name.as_slice(), AtFlags::empty()) {
                    Ok(()) => self.cleared += 1,
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(self.failed("remove", name)(errno)),
                }
            }
        }
        for name in names.iter().filter(|name| name.contains(&b'.') && name.as_slice() != GC_LOCK.as_bytes()) {
            let owner = name.split(|byte| *byte == b'.').next().unwrap_or_default();
            let is_owned = self.open(owner)?.is_some();
            if !is_owned {
                let _ = unlinkat(&self.directory, name.as_slice(), AtFlags::empty());
            }
        }
        Ok(())
    }

    /// Returns whether no lease exists.
    pub(crate) fn is_alone(&self) -> Result<bool, RepositoryError> {
        Ok(self.names()?.iter().all(|name| name.contains(&b'.')))
    }

    /// Reads what was added to the leases since the last call, and passes each new digest to `show`.
    pub(crate) fn read(&mut self, mut show: impl FnMut(Digest)) -> Result<(), RepositoryError> {
        for name in self.names()? {
            if name.contains(&b'.') || self.own.as_ref() == Some(&name) || self.seen.contains_key(&name) {
                continue;
            }
            if let Some(file) = self.open(&name)? {
                self.seen.insert(name, (file, 0));
            }
        }
        let Self { seen, claimed, path, .. } = self;
        let mut buffer = vec![0; READ_SIZE];
        for (name, (file, offset)) in seen {
            loop {
                let len = fill(file.as_fd(), &mut buffer, *offset)
                    .map_err(io_error("read", path.join(&*String::from_utf8_lossy(name))))?;
                let algorithm = claimed.algorithm();
                let mut whole = 0;
                for raw in buffer[..len].chunks_exact(algorithm.digest_len()) {
                    whole += raw.len();
                    if claimed.insert_raw(raw) {
                        Digest::new(algorithm, raw).into_iter().for_each(&mut show);
                    }
                }
                *offset += whole as u64;
                if len < buffer.len() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Returns whether no lease was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    fn names(&self) -> Result<Vec<Vec<u8>>, RepositoryError> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory).map_err(io_error("list", &self.path))? {
            let entry = entry.map_err(io_error("list", &self.path))?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }

    fn open(&self, name: &[u8]) -> Result<Option<OwnedFd>, RepositoryError> {
        match openat(&self.directory, name, OPEN, Mode::empty()) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(None),
            Err(errno) => Err(self.failed("open", name)(errno)),
        }
    }

    fn failed(&self, step: &'static str, name: &[u8]) -> impl FnOnce(Errno) -> RepositoryError {
        io_error(step, self.path.join(&*String::from_utf8_lossy(name)))
    }
}
