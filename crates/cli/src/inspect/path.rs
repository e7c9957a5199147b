//! Paths in an image, and errors about paths that do not exist.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::anyhow;
use libcomposefs_image::erofs::read::ResolveError;
use libcomposefs_image::tree::{InodeId, Tree};

use crate::error_text::with_remedy;
use crate::inspect::names::shell_word;

/// Paragraph on paths in images for `--help`.
pub(crate) const PATHS: &str = "\
Paths are relative to the root of the image, with or without a leading slash. Neither .. nor a symlink leads out of the
image. The output matches what a mount shows, except that whiteouts (character devices 0,0) appear as in the source.
No mount, no privileges and no objects are needed.";

/// Builds the error for a path that cannot be resolved. `words` name the image on a command line.
pub(crate) fn unresolved(image: &Path, words: &str, error: &ResolveError) -> anyhow::Error {
    let remedy = match error {
        ResolveError::Missing { path } => {
            let above = path.iter().rposition(|byte| *byte == b'/').map_or(&b"/"[..], |slash| &path[..slash.max(1)]);
            let above = shell_word(Path::new(OsStr::from_bytes(above)));
            format!("composefs ls {words} {above} lists the existing entries")
        }
        _ => return anyhow!("{}: {error}", image.display()),
    };
    with_remedy(format!("{}: {error}", image.display()), remedy)
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

/// Returns the paths of a command line, or the root if there are none.
pub(crate) fn or_root(paths: &[OsString]) -> Vec<&[u8]> {
    if paths.is_empty() { vec![b"/"] } else { paths.iter().map(|path| path.as_bytes()).collect() }
}
