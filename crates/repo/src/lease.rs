//! Leases protect what a process relies on from gc.
//!
//! Each running process has a file in `leases/`, locked as long as the process works, with the digests that it stored
//! or found and that no ref names yet. A gc reads all leases before it removes anything (`docs/format/repository.md`,
//! section 5).

pub(crate) mod reader;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use libcomposefs_image::Digest;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, openat, unlinkat};
use rustix::io::{Errno, write};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::dir::RepoDir;
use crate::error::io_error;
use crate::lock::cannot_lock;
use crate::wait::{LockMode, WaitPolicy};
use crate::{RepositoryError, layout};
use libcomposefs_store::Error;
use libcomposefs_store::GcGuard;

/// The file that a gc locks.
pub(crate) const GC_LOCK: &str = "gc.lock";

/// A lease of this process. It protects objects and images from gc until it is dropped.
#[derive(Debug)]
pub struct Lease {
    directory: OwnedFd,
    name: String,
    file: OwnedFd,
    path: PathBuf,
    /// The directory of the repository, opened once more: the barrier is a lock of its own.
    barrier: OwnedFd,
    /// Path of the repository.
    repository: PathBuf,
    /// Set if a write was incomplete: no digest can follow it.
    is_broken: AtomicBool,
    links: AtomicU32,
    wait: WaitPolicy,
}

impl Lease {
    /// Makes a lease in the directory of leases, and locks it.
    ///
    /// # Errors
    ///
    /// If the lease cannot be written.
    pub(crate) fn begin(dir: &RepoDir) -> Result<Self, RepositoryError> {
        let directory = dir.make_dir(layout::LEASES)?;
        let path = dir.path.join(layout::LEASES);
        let barrier = dir.reopen()?;
        // A gc must be able to lock this file even when the disk is full.
        open_gc_lock(directory.as_fd()).map_err(io_error("open", path.join(GC_LOCK)))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = new_name();
            let path = path.join(&name);
            let file = match openat(&directory, &name, flags, Mode::from_raw_mode(0o600)) {
                Err(Errno::EXIST) => continue,
                result => result.map_err(io_error("make", &path))?,
            };
            dir.wait.lock(&file, LockMode::Exclusive, &path).map_err(cannot_lock(&path))?;
            // Until it is locked, a gc takes the lease for that of a dead process, and may remove it.
            if fstat(&file).map_err(io_error("stat", &path))?.st_nlink > 0 {
                let (is_broken, links) = (AtomicBool::new(false), AtomicU32::new(0));
                let (repository, wait) = (dir.path.clone(), dir.wait.clone());
                return Ok(Lease { directory, name, file, path, barrier, repository, is_broken, links, wait });
            }
        }
    }

    /// Protects objects and images: no gc removes those that exist when this returns, until the lease is dropped.
    ///
    /// # Errors
    ///
    /// If the lease cannot be written.
    pub fn protect(&self, digests: &[Digest]) -> Result<(), Error> {
        self.protect_within(digests, Duration::MAX)
    }

    /// Protects objects and images, and waits no longer than `limit` for the lock of the repository.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if another process held the lock all the time. The digests are written then, but a gc that has begun
    /// a step may not have read them.
    pub(crate) fn protect_within(&self, digests: &[Digest], limit: Duration) -> Result<(), Error> {
        let failed = |errno: Errno| Error::Io { step: "write", path: self.path.clone(), source: errno.into() };
        let bytes: Vec<u8> = digests.iter().flat_map(|digest| digest.as_bytes().iter().copied()).collect();
        if self.is_broken.load(Ordering::Acquire) {
            return Err(failed(Errno::NOSPC));
        }
        // One call, so that the digests of several threads do not mix.
        match write(&self.file, &bytes) {
            Ok(written) if written == bytes.len() => {}
            result => {
                self.is_broken.store(true, Ordering::Release);
                return Err(failed(result.err().unwrap_or(Errno::NOSPC)));
            }
        }
        // A gc holds this lock during each step. After it is free, the next step reads what was written here.
        self.wait.lock_within(&self.barrier, LockMode::Shared, &self.repository, limit).map_err(
            |errno| match errno {
                Errno::INTR => Error::Interrupted,
                errno => failed(errno),
            },
        )?;
        flock(&self.barrier, FlockOperation::Unlock).map_err(failed)
    }

    /// Returns the name of the lease file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the directory of leases, and a new name in it. A file of that name is removed with the lease if it is
    /// left behind.
    pub(crate) fn temporary_name(&self) -> (BorrowedFd<'_>, String) {
        let number = self.links.fetch_add(1, Ordering::Relaxed);
        (self.directory.as_fd(), format!("{}.{number}", self.name))
    }
}

impl GcGuard for Lease {
    fn protect(&self, digests: &[Digest]) -> Result<(), Error> {
        Lease::protect(self, digests)
    }

    fn proceed(&self) -> Result<(), Error> {
        if self.wait.is_interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

impl Drop for Lease {
    /// During a gc the file stays, and the next gc removes it. Otherwise a gc that has read the refs before the last
    /// ones were written would not see that their images are protected.
    fn drop(&mut self) {
        if let Ok(gc) = open_gc_lock(self.directory.as_fd())
            && flock(&gc, FlockOperation::NonBlockingLockShared).is_ok()
        {
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

/// Opens the file that a gc locks.
pub(crate) fn open_gc_lock(leases: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(leases, GC_LOCK, flags, Mode::from_raw_mode(0o600))
}

/// Returns a unique name that begins with the process ID, for people.
fn new_name() -> String {
    let mut random = [0; 8];
    // If the RNG is not ready the name is not unique; `O_EXCL` catches a clash.
    let _ = getrandom(&mut random, GetRandomFlags::NONBLOCK);
    format!("{}-{:016x}", rustix::process::getpid().as_raw_nonzero(), u64::from_le_bytes(random))
}
