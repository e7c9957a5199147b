//! Errors of an extraction.

use std::io;
use std::path::PathBuf;

use libcomposefs_image::dump::{Also, escape};
use rustix::io::Errno;

use crate::object::error::ObjectError;

/// Error that prevented or stopped an extraction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The image does not have the path.
    #[error("the image has no path {}: paths are matched literally, without following symlinks", shown(path))]
    NoSuchPath {
        /// The path, as it was given.
        path: Vec<u8>,
    },
    /// The target exists and is not empty.
    #[error("the directory {} is not empty", target.display())]
    NotEmpty {
        /// Path of the target.
        target: PathBuf,
    },
    /// The target cannot be used.
    #[error("cannot {step} {}: {source}", target.display())]
    Target {
        /// The operation, as a verb for the message.
        step: &'static str,
        /// Path of the target.
        target: PathBuf,
        /// Error returned by the kernel.
        source: io::Error,
    },
    /// An error that the next file would meet as well.
    #[error("cannot {step} {}: {source}", shown(path))]
    Stopped {
        /// The operation, as a verb for the message.
        step: &'static str,
        /// Path in the image.
        path: Vec<u8>,
        /// Error returned by the kernel.
        source: io::Error,
    },
}

/// Error of extracting one path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The object is missing, unreadable or wrong.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The image does not record a digest.
    #[error("the image has no digest of the content, so it cannot be verified")]
    NoDigest,
    /// The image does not name an object.
    #[error("the image does not name the object of the content")]
    NoObject,
    /// The target already has an entry of this name.
    #[error("the target has an entry of this name already")]
    Exists,
    /// The target has a directory in place of another type of file.
    #[error("the target has a directory of this name, which is not replaced")]
    DirectoryInTheWay,
    /// Another process moved or replaced a directory during the extraction.
    #[error("another process moved or replaced the directory during the extraction")]
    Moved,
    /// A system call failed.
    #[error("cannot {step} it: {source}")]
    Io {
        /// The operation, as a verb for the message.
        step: &'static str,
        /// Error returned by the kernel.
        source: io::Error,
    },
}

impl FileError {
    pub(super) fn io<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| FileError::Io { step, source: source.into() }
    }

    /// Returns true if the next file would fail in the same way: a full or broken disk, no more descriptors or
    /// memory.
    pub(super) fn is_general(&self) -> bool {
        let FileError::Io { source, .. } = self else { return false };
        let errno = Errno::from_io_error(source);
        errno.is_some_and(|errno| {
            matches!(
                errno,
                Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::IO | Errno::MFILE | Errno::NFILE | Errno::NOMEM
            )
        })
    }
}

pub(super) fn shown(path: &[u8]) -> String {
    let mut text = Vec::new();
    escape(path, Also::NotSpaces, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
