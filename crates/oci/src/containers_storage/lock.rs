//! The locks of the store: record locks of whole files, shared while the store is read.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use super::StorageError;
use super::files::{io_error, open_file};

/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// A shared lock, which is held until it is dropped. Such locks belong to the process: a process opens a store once.
#[derive(Debug)]
pub(super) struct StorageLock {
    _file: OwnedFd,
}

impl StorageLock {
    /// Takes the lock. Calls `wait` before each further try if another process has it; false ends the waiting.
    /// Returns `None` if there is no such file, as in stores that are never written.
    pub(super) fn shared(
        root: &OwnedFd,
        path: &Path,
        name: &str,
        wait: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Self>, StorageError> {
        let Some(file) = open_file(root, path, name)? else { return Ok(None) };
        loop {
            match fcntl_lock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => return Ok(Some(Self { _file: file })),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::ACCESS) if wait() => std::thread::sleep(PAUSE),
                Err(Errno::AGAIN | Errno::ACCESS) => return Err(StorageError::Locked(path.to_owned())),
                Err(errno) => return Err(io_error("lock", path, name, io::Error::from(errno))),
            }
        }
    }
}
