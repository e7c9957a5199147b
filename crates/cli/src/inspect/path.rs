//! Resolves paths in an image, and reports paths that do not exist.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::anyhow;
use libcomposefs_image::erofs::read::{LastLink, ReadError, ResolveError, ResolvedPath, View};
use libcomposefs_image::tree::{InodeId, Tree};

use crate::error_text::with_remedy;
use crate::inspect::names::shell_word;

/// Paragraph on paths in images for `--help`.
pub(crate) const PATHS: &str = "\
Paths are relative to the root of the image, with or without a leading slash. Neither .. nor a symlink leads out of the
image. The output matches what a mount shows, except that whiteouts (character devices 0,0) appear as in the source.
No mount, no privileges and no objects are needed.";

/// Resolves a path of the image.
pub(crate) fn resolve(image: &Path, view: &View<'_, '_>, path: &[u8], last: LastLink) -> anyhow::Result<ResolvedPath> {
    view.resolve(path, last).map_err(|error| unresolved(image, &error))
}

fn unresolved(image: &Path, error: &ResolveError) -> anyhow::Error {
    let remedy = match error {
        ResolveError::Missing { path } => {
            let above = path.iter().rposition(|byte| *byte == b'/').map_or(&b"/"[..], |slash| &path[..slash.max(1)]);
            let above = shell_word(Path::new(OsStr::from_bytes(above)));
            format!("composefs ls {} {above} lists the existing entries", shell_word(image))
        }
        _ => return anyhow!("{}: {error}", image.display()),
    };
    with_remedy(format!("{}: {error}", image.display()), remedy)
}

/// Builds the error for an image that is damaged at a path.
pub(crate) fn refused(image: &Path, path: &[u8], error: ReadError) -> anyhow::Error {
    anyhow!("{}: {}", image.display(), error.at_path(path))
}

/// Finds the inode at a path of a tree, without following symlinks.
pub(crate) fn in_tree(tree: &Tree, path: &[u8]) -> Option<InodeId> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    names.into_iter().try_fold(InodeId::ROOT, |directory, name| Some(tree.child(directory, name)?.inode))
}

/// Joins the path of a directory and the name of an entry.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_owned();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}
