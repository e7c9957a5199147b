//! The leases of others, read before something is removed.

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
use crate::dir::RepoDir;
use crate::error::io_error;
use crate::lock::cannot_lock;
use crate::wait::LockMode;
use crate::{RepositoryError, layout};

/// What the name of a link begins with that a gc has moved aside.
const ASIDE: &str = "gc.";

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// What all who are at work rely on.
#[derive(Debug)]
pub(crate) struct LeaseReader {
    directory: OwnedFd,
    path: PathBuf,
    /// Held while this is there: leases that end meanwhile stay.
    _gc_lock: Option<OwnedFd>,
    /// The name of a lease that is passed over.
    own: Option<Vec<u8>>,
    /// Each lease, with how much of it was read.
    seen: HashMap<Vec<u8>, (OwnedFd, u64)>,
    /// What they claim.
    pub(crate) claimed: DigestSet,
    /// How many were cleared away, as who wrote them is gone.
    pub(crate) cleared: u64,
}

impl LeaseReader {
    /// Starts a gc: takes `gc.lock` and deletes the leases of processes that have ended. Their refs can be seen by now, so refs are
    /// to be read after this.
    pub(crate) fn begin_gc(dir: &RepoDir, objects: &ObjectDir) -> Result<Self, RepositoryError> {
        let directory = dir.make_dir(layout::LEASES)?;
        let path = dir.path.join(layout::LEASES);
        let gc_lock = open_gc_lock(directory.as_fd()).map_err(io_error("open", path.join(GC_LOCK)))?;
        let lock_path = path.join(GC_LOCK);
        dir.wait.lock(&gc_lock, LockMode::Exclusive, &lock_path).map_err(cannot_lock(&lock_path))?;
        let mut reader = Self::new(dir, directory, Some(gc_lock));
        reader.put_back_aside(dir, objects)?;
        reader.clear()?;
        Ok(reader)
    }

    /// Reads leases without a lock; `None` if there are none. A lease that ends meanwhile is not seen.
    pub(crate) fn look(dir: &RepoDir) -> Result<Option<Self>, RepositoryError> {
        Ok(dir.open_dir(layout::LEASES)?.map(|directory| Self::new(dir, directory, None)))
    }

    /// Reads the leases of other processes, without a lock.
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

    /// Moves back the image links that a gc had moved aside when it was killed: an image may be open. This gc decides on them.
    fn put_back_aside(&self, dir: &RepoDir, objects: &ObjectDir) -> Result<(), RepositoryError> {
        let Some(images) = dir.open_dir(layout::IMAGES)? else { return Ok(()) };
        for name in self.names()? {
            let digest = name.strip_prefix(ASIDE.as_bytes()).and_then(|hex| Digest::from_hex(hex).ok());
            let Some(digest) = digest.filter(|digest| objects.try_stat(digest).is_ok()) else { continue };
            match renameat_with(&self.directory, name.as_slice(), &images, digest.to_hex(), RenameFlags::NOREPLACE) {
                Ok(()) | Err(Errno::NOENT | Errno::EXIST) => {}
                Err(errno) => return Err(self.failed("move back", &name)(errno)),
            }
        }
        Ok(())
    }

    /// The directory of the leases.
    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// A name in it for the link of an image while it is decided whether the link goes. The next gc moves back what a crash
    /// leaves under such a name.
    pub(crate) fn aside(&self, image: &str) -> String {
        format!("{ASIDE}{image}")
    }

    /// Clears away what belongs to nobody any more.
    pub(crate) fn clear(&mut self) -> Result<(), RepositoryError> {
        let names = self.names()?;
        for name in names.iter().filter(|name| !name.contains(&b'.')) {
            let Some(file) = self.open(name)? else { continue };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // Its maker may be about to lock it, and then sees that it has no name any more.
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

    /// Whether nobody else is at work.
    pub(crate) fn is_alone(&self) -> Result<bool, RepositoryError> {
        Ok(self.names()?.iter().all(|name| name.contains(&b'.')))
    }

    /// Reads what was claimed since the last time, and shows each digest that is new.
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

    /// Whether there was no lease to be read.
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
