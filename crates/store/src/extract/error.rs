//! Why something could not be extracted.

use std::io;
use std::path::PathBuf;

use libcomposefs_image::dump::{Also, escape};
use rustix::io::Errno;

use crate::object::error::ObjectError;

/// Why an extraction did not begin or ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// A path that the image has not got.
    #[error("the image has no {}: a path is taken as it is, and no symlink is followed", shown(path))]
    NoSuchPath {
        /// The path.
        path: Vec<u8>,
    },
    /// The target is there, and somebody's.
    #[error("the directory {} is not empty", target.display())]
    NotEmpty {
        /// The target.
        target: PathBuf,
    },
    /// The target cannot be used.
    #[error("cannot {step} {}: {source}", target.display())]
    Target {
        /// What was being done.
        step: &'static str,
        /// The target.
        target: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Something failed that would fail for the next file as well.
    #[error("cannot {step} {}: {source}", shown(path))]
    Stopped {
        /// What was being done.
        step: &'static str,
        /// The path in the image.
        path: Vec<u8>,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Why one path was not extracted.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Its object cannot be had, or is another.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The image says no digest.
    #[error("the image has no digest of the content, so that it cannot be verified")]
    NoDigest,
    /// The image says no object.
    #[error("the image does not say which object is the content")]
    NoObject,
    /// There is something in the target already.
    #[error("there is something in its place already")]
    Exists,
    /// A directory is where something else should be.
    #[error("a directory is in its place, which is not replaced")]
    DirectoryInTheWay,
    /// A directory was moved or replaced meanwhile.
    #[error("the directory was moved or replaced while it was extracted to")]
    Moved,
    /// The kernel refused a step.
    #[error("cannot {step} it: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl FileError {
    pub(super) fn io<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| FileError::Io { step, source: source.into() }
    }

    /// Whether the next file would fail in the same way: a full or broken disk, no more descriptors or memory.
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
