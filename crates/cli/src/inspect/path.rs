//! Paths in an image, and what is said where one leads to nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::anyhow;
use libcomposefs_image::erofs::read::{Found, LastLink, ReadError, ResolveError, View};
use libcomposefs_image::tree::{InodeId, Tree};

use crate::error_text::with_remedy;
use crate::inspect::names::shell_word;

/// What `--help` says of paths in images.
pub(crate) const PATHS: &str = "\
Paths are those in the image, from its root, with a leading slash or without; .. never leads out of it, and symlinks on
the way are followed inside of it. What is shown is what a mount shows, and whiteouts (character devices 0,0) as they
are in the source. No mount, no privilege and no object is needed.";

/// Follows a path.
pub(crate) fn resolve(image: &Path, view: &View<'_, '_>, path: &[u8], last: LastLink) -> anyhow::Result<Found> {
    view.resolve(path, last).map_err(|error| unresolved(image, &error))
}

fn unresolved(image: &Path, error: &ResolveError) -> anyhow::Error {
    let remedy = match error {
        ResolveError::Missing { path } => {
            let above = path.iter().rposition(|byte| *byte == b'/').map_or(&b"/"[..], |slash| &path[..slash.max(1)]);
            let above = shell_word(Path::new(OsStr::from_bytes(above)));
            format!("composefs ls {} {above} shows what is there", shell_word(image))
        }
        _ => return anyhow!("{}: {error}", image.display()),
    };
    with_remedy(format!("{}: {error}", image.display()), remedy)
}

/// An image is wrong at what is under a path.
pub(crate) fn refused(image: &Path, path: &[u8], error: ReadError) -> anyhow::Error {
    anyhow!("{}: {}", image.display(), error.at_path(path))
}

/// The inode of a tree that a path without symlinks leads to.
pub(crate) fn in_tree(tree: &Tree, path: &[u8]) -> Option<InodeId> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    names.into_iter().try_fold(InodeId::ROOT, |directory, name| Some(tree.child(directory, name)?.inode))
}

/// The path of an entry of a directory.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_owned();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}
