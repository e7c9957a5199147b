//! The error of an operation on a remote.

use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::bundle::FrameError;
use libcomposefs_repo::{RefName, RepositoryError};

use crate::{DocumentError, IndexError, RemoteError};

/// Error of an operation on a remote.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// An access to the remote failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The operation was cancelled.
    #[error("interrupted")]
    Interrupted,
    /// The remote cannot be written.
    #[error("the remote {location} cannot be written: {reason}")]
    ReadOnly {
        /// Location of the remote.
        location: String,
        /// The reason, and what to do about it.
        reason: String,
    },
    /// The trace is one of another image.
    #[error("the trace names no object and no path of the image {image}: make one with `composefs trace`")]
    ForeignTrace {
        /// The image.
        image: Box<Digest>,
    },
    /// The remote has no such ref.
    #[error("the remote {location} has no ref {name}: `composefs remote list` with the remote shows those it has")]
    NoRef {
        /// Location of the remote.
        location: String,
        /// Name of the ref.
        name: RefName,
    },
    /// The remote has no such image.
    #[error("the remote {location} has no image {digest} by its digest: pull a ref, or check the location")]
    NoImage {
        /// Location of the remote.
        location: String,
        /// Digest of the image.
        digest: Box<Digest>,
    },
    /// A document of the remote cannot be used.
    #[error("{file} of the remote {location} cannot be used: {source}")]
    Document {
        /// Location of the remote.
        location: String,
        /// Path of the document.
        file: String,
        /// The reason.
        source: DocumentError,
    },
    /// An index of the remote cannot be used.
    #[error("{file} of the remote {location} cannot be used: {source}")]
    Index {
        /// Location of the remote.
        location: String,
        /// Path of the index.
        file: String,
        /// The reason.
        source: IndexError,
    },
    /// A file of the remote is not what its name or the index says.
    #[error("{file} of the remote {location} is damaged: {reason}")]
    Damaged {
        /// Location of the remote.
        location: String,
        /// Path of the file.
        file: String,
        /// The reason.
        reason: String,
    },
    /// A frame gives no objects.
    #[error("{file} of the remote {location} cannot be used, at byte {offset}: {source}")]
    Frame {
        /// Location of the remote.
        location: String,
        /// Path of the pack.
        file: String,
        /// Offset of the frame.
        offset: u64,
        /// The reason.
        source: Box<FrameError>,
    },
    /// An image has an algorithm that the repository does not have.
    #[error(
        "the image {digest} of the remote {location} has digests of {}, this repository those of {}: use another \
         repository for it (`composefs init --algorithm`)",
        digest.algorithm().name(),
        expected.name()
    )]
    Algorithm {
        /// Location of the remote.
        location: String,
        /// Digest of the image.
        digest: Box<Digest>,
        /// Algorithm of the repository.
        expected: Algorithm,
    },
    /// Another push moved the ref meanwhile.
    #[error(
        "another push moved {name} of the remote {location} meanwhile{}: nothing of that push is lost; push again to \
         replace it",
        image.as_ref().map(|image| format!(", to image {image}")).unwrap_or_default()
    )]
    OtherPush {
        /// Location of the remote.
        location: String,
        /// Name of the ref.
        name: RefName,
        /// Image that the ref leads to now.
        image: Option<Box<Digest>>,
    },
    /// A gc of the remote does not end.
    #[error(
        "a gc of the remote {location} has begun and has not ended: if it does not run any more, `composefs remote gc` \
         ends it"
    )]
    Collection {
        /// Location of the remote.
        location: String,
    },
    /// Packs cannot be made.
    #[error("cannot compress objects: {0}")]
    Encode(#[source] std::io::Error),
    /// A temporary file failed.
    #[error("cannot use a temporary file: {0}")]
    Spool(#[source] std::io::Error),
}
