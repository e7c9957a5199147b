//! Errors of the object store.

use std::io;
use std::path::PathBuf;

use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_sys::verity::refusal_cause;
use rustix::io::Errno;

/// Error of an operation on a store, or of replacing a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("cannot {step} {}: {source}", path.display())]
    Io {
        /// The operation, as a verb for the message.
        step: &'static str,
        /// Path that the operation was applied to.
        path: PathBuf,
        /// Error returned by the kernel.
        source: io::Error,
    },
    /// Reading the file to be stored failed.
    #[error("cannot read the content to be stored: {0}")]
    Source(io::Error),
    /// The stored bytes differ from the bytes read before: another process writes to the file.
    #[error("the content changed while it was stored: it had the digest {expected}, its copy has {stored}")]
    ChangedWhileStoring {
        /// Digest of the bytes that were read.
        expected: Box<Digest>,
        /// Digest of the bytes that were stored.
        stored: Box<Digest>,
    },
    /// A directory has the name of an object.
    #[error("a directory is in the way of the object {}", path.display())]
    DirectoryInTheWay {
        /// Path of the object.
        path: PathBuf,
    },
    /// One of the 256 directories of a store is not a directory.
    #[error("{} is not a directory: the store needs it to hold objects", path.display())]
    NotAnObjectDirectory {
        /// Path of the entry that should be a directory.
        path: PathBuf,
    },
    /// fs-verity is required but cannot be enabled.
    #[error("cannot enable fs-verity on {}: {source}{}", path.display(), cause(source))]
    Verity {
        /// Path of the object.
        path: PathBuf,
        /// Error returned by the kernel.
        source: io::Error,
    },
    /// fs-verity is required, and the kernel refuses to report the digest.
    #[error("cannot measure the fs-verity digest of {}: {source}{}", path.display(), cause(source))]
    VerityRefused {
        /// Path of the object.
        path: PathBuf,
        /// Error returned by the kernel.
        source: io::Error,
    },
    /// The kernel measures another digest than the one the content was stored under: the disk or the memory is
    /// faulty.
    #[error("the kernel measures {measured} for the object stored as {expected}")]
    Measured {
        /// Digest that was computed before.
        expected: Digest,
        /// Digest reported by the kernel, in hex.
        measured: String,
    },
    /// The operation was cancelled.
    #[error("interrupted")]
    Interrupted,
    /// A digest does not have the algorithm of the store.
    #[error("{digest} is a {} digest, the store {} has {expected} objects", digest.algorithm(), store.display())]
    Algorithm {
        /// Digest that was passed.
        digest: Digest,
        /// Algorithm of the store.
        expected: Algorithm,
        /// Path of the store.
        store: PathBuf,
    },
}

/// Returns `: ` and the probable cause of a refused fs-verity request, or nothing if the error is clear.
#[must_use]
pub fn cause(error: &io::Error) -> String {
    let cause = Errno::from_io_error(error).and_then(refusal_cause);
    cause.map_or_else(String::new, |cause| format!(": {cause}"))
}

impl Error {
    pub(crate) fn changed(expected: &Digest, stored: &Digest) -> Self {
        Error::ChangedWhileStoring { expected: Box::new(*expected), stored: Box::new(*stored) }
    }
}
