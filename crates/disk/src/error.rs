//! Reasons why a disk is not made.

use std::io;
use std::path::PathBuf;

use libcomposefs_image::Digest;
use libcomposefs_repo::RepositoryError;
use libcomposefs_store::ObjectError;

/// Reasons why a disk is not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// Reading the repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// An object is missing, or cannot be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// An object has another content than its name says.
    #[error("{}: the object has the digest {found}, not that of its name", path.display())]
    Damaged {
        /// Path of the object.
        path: PathBuf,
        /// Digest of the content.
        found: Box<Digest>,
    },
    /// Writing the disk failed.
    #[error("cannot write {step}: {source}")]
    Write {
        /// The part of the disk.
        step: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The disk has no room for the image.
    #[error("the image needs a disk of {needed} bytes, and the disk has {found}")]
    NoRoom {
        /// Size of the smallest disk.
        needed: u64,
        /// Size that the disk would have.
        found: u64,
    },
    /// The disk is too large.
    #[error("a file system of {bytes} bytes: at most 16 TiB are possible")]
    TooLarge {
        /// Size of the file system.
        bytes: u64,
    },
    /// The root file system was full before everything was written.
    #[error("the root file system is full")]
    Full,
    /// A file has more pieces on the disk than the map of an inode can have.
    #[error("a file of {size} bytes: the map of its inode has no room for it")]
    FileTooLarge {
        /// Size of the file.
        size: u64,
    },
    /// Something of the image's `/var` or `/etc` cannot be copied to ext4.
    #[error("{path} of the image cannot be copied to the disk: {reason}")]
    State {
        /// Path in the image, escaped.
        path: String,
        /// The rule that it breaks.
        reason: String,
    },
    /// A directory is missing from the image.
    #[error("the image has no directory {path}, without which it does not boot")]
    NoDirectory {
        /// Path of the directory.
        path: &'static str,
    },
    /// A file is not what goes to an EFI system partition.
    #[error("{}: {reason}", path.display())]
    Efi {
        /// Path of the file.
        path: PathBuf,
        /// The rule that it breaks.
        reason: String,
    },
    /// A file for the EFI system partition cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The operation was cancelled.
    #[error("interrupted")]
    Interrupted,
}

impl DiskError {
    /// Returns a function that makes an error of a failed write.
    pub(crate) fn write(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { step, source }
    }
}
