//! Errors of opening and reading an object that an image names.

use std::io;
use std::path::{Path, PathBuf};

use libcomposefs_image::digest::Digest;
use libcomposefs_image::dump::{Also, escape};

/// Error of opening or reading an object. The path was chosen by the author of the image, and is printed escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// An object directory cannot be opened.
    #[error("cannot open the object directory {}: {source}", shown(path))]
    Basedir {
        /// Path of the object directory.
        path: PathBuf,
        /// Error returned by the kernel.
        source: io::Error,
    },
    /// No directory has the object.
    #[error("the object {} is not in {}", escaped(payload), list(basedirs))]
    Missing {
        /// Payload of the object: its path below the directories.
        payload: Vec<u8>,
        /// The directories that were searched.
        basedirs: Vec<PathBuf>,
    },
    /// The path has a symlink, crosses a mount point, or leaves the directory: overlayfs does not follow it either.
    #[error("cannot open the object {}: its path leaves the object directory or contains a symlink", shown(path))]
    LeadsAway {
        /// Path of the object.
        path: PathBuf,
        /// The kernel's error, `EXDEV` or `ELOOP`.
        source: io::Error,
    },
    /// The file is a directory, a device or another type without content.
    #[error("the object {} is not a regular file", shown(path))]
    NotRegular {
        /// Path of the object.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("cannot {step} the object {}: {source}", shown(path))]
    Io {
        /// The operation, as a verb for the message.
        step: &'static str,
        /// Path of the object.
        path: PathBuf,
        /// Error returned by the kernel.
        source: io::Error,
    },
    /// The object has another length than the image records.
    #[error("the object {} has {found} bytes, the image says {expected}", shown(path))]
    Size {
        /// Path of the object.
        path: PathBuf,
        /// Length recorded in the image.
        expected: u64,
        /// Length of the file.
        found: u64,
    },
    /// The content does not have the digest that the image records.
    #[error("the object {} has the digest {found}, the image says {expected}", shown(path))]
    Digest {
        /// Path of the object.
        path: PathBuf,
        /// Digest recorded in the image.
        expected: Box<Digest>,
        /// Digest of the content.
        found: Box<Digest>,
    },
    /// Another process writes to the object.
    #[error("the object {} changed while it was read", shown(path))]
    Changed {
        /// Path of the object.
        path: PathBuf,
    },
}

fn shown(path: &Path) -> String {
    escaped(path.as_os_str().as_encoded_bytes())
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    escape(bytes, Also::NotSpaces, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn list(basedirs: &[PathBuf]) -> String {
    match basedirs {
        [] => "any object directory, as none was given".to_owned(),
        some => some.iter().map(|path| shown(path)).collect::<Vec<_>>().join(" or "),
    }
}
