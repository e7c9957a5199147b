//! Why an object that an image names could not be had.

use std::io;
use std::path::{Path, PathBuf};

use libcomposefs_image::digest::Digest;
use libcomposefs_image::dump::{Also, escape};

/// Why an object could not be opened or read. Its path was chosen by whoever made the image, and is shown escaped.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// A directory for objects cannot be opened.
    #[error("cannot open the object directory {}: {source}", shown(path))]
    Basedir {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No directory has it.
    #[error("the object {} is not in {}", escaped(payload), list(basedirs))]
    Missing {
        /// The payload: its path below the directories.
        payload: Vec<u8>,
        /// Where it was looked for.
        basedirs: Vec<PathBuf>,
    },
    /// The path goes by a symlink, into another mount, or out of the directory: overlayfs does not follow it either.
    #[error(
        "the object {} is not followed, as its path leaves the object directory or has a symlink in it",
        shown(path)
    )]
    LeadsAway {
        /// The object's path.
        path: PathBuf,
        /// `EXDEV` or `ELOOP`.
        source: io::Error,
    },
    /// It is a directory, a device or something else that has no content.
    #[error("the object {} is not a regular file", shown(path))]
    NotRegular {
        /// The object's path.
        path: PathBuf,
    },
    /// The kernel refused a step.
    #[error("cannot {step} the object {}: {source}", shown(path))]
    Io {
        /// What was being done.
        step: &'static str,
        /// The object's path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It has another length than the image says.
    #[error("the object {} has {found} bytes, the image says {expected}", shown(path))]
    Size {
        /// The object's path.
        path: PathBuf,
        /// What the image says.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// It holds something else than its digest says.
    #[error("the object {} has the digest {found}, the image says {expected}", shown(path))]
    Digest {
        /// The object's path.
        path: PathBuf,
        /// What the image says.
        expected: Box<Digest>,
        /// That of what it holds.
        found: Box<Digest>,
    },
    /// Somebody writes to it.
    #[error("the object {} changed while it was read", shown(path))]
    Changed {
        /// The object's path.
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
