//! Why something could not be stored.

use std::io;
use std::path::PathBuf;

use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_sys::verity::refusal_cause;
use rustix::io::Errno;

/// Why an operation on a store, or the publishing of a file, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a step.
    #[error("cannot {step} {}: {source}", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Reading the file to be stored failed.
    #[error("cannot read the content to be stored: {0}")]
    Source(io::Error),
    /// What was stored is not what was read before: somebody writes to the file.
    #[error("the content changed while it was stored: it had the digest {expected}, its copy has {stored}")]
    ChangedWhileStoring {
        /// The digest of what was read.
        expected: Box<Digest>,
        /// The digest of what was stored.
        stored: Box<Digest>,
    },
    /// A directory has the name of an object.
    #[error("a directory is in the way of the object {}", path.display())]
    DirectoryInTheWay {
        /// The object's path.
        path: PathBuf,
    },
    /// What should be one of the 256 directories of a store is something else.
    #[error("{} must be a directory to hold objects, and is none", path.display())]
    NotAnObjectDirectory {
        /// Its path.
        path: PathBuf,
    },
    /// fs-verity is required and cannot be had.
    #[error("cannot enable fs-verity on {}: {source}{}", path.display(), cause(source))]
    Verity {
        /// The object's path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// fs-verity is required, and the request for the digest is refused.
    #[error("cannot ask for the fs-verity digest of {}: {source}{}", path.display(), cause(source))]
    VerityRefused {
        /// The object's path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel measures another digest than the content was stored under: the disk or the memory fails.
    #[error("the kernel measures {measured} for the object stored as {expected}")]
    Measured {
        /// The digest we have computed.
        expected: Digest,
        /// What the kernel says, in hex.
        measured: String,
    },
    /// Somebody asked to end.
    #[error("interrupted")]
    Interrupted,
    /// A digest of one algorithm asked of a store of the other.
    #[error("{digest} is a {} digest, the store {} has {expected} objects", digest.algorithm(), store.display())]
    Algorithm {
        /// The digest.
        digest: Digest,
        /// The store's algorithm.
        expected: Algorithm,
        /// The store.
        store: PathBuf,
    },
}

/// `: ` and what probably refused a request of fs-verity, if that is not clear from the error.
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
