//! Looks once through an image for what makes requests unnecessary.

use std::ops::ControlFlow;

use libcomposefs_image::erofs::read::{ImageReader, RawInode, ReadError};
use libcomposefs_image::tree::Kind;

use super::xattrs::{VisibleXattrs, XattrForm};

/// The number of names that are looked at: more would delay the mount by more than the answer is worth.
const MAX_NAMES: usize = 1 << 17;

/// The least length of a name in an image: that of a dirent. A directory in several places has more names than room.
const DIRENT_LEN: usize = 12;

/// Returns false if no inode has an attribute that a mount shows. The kernel does not keep attributes, and would ask
/// for them at each `ls -l`; it stops asking if it is told that the file system has no attributes.
///
/// An image that is too large or damaged counts as one that has attributes.
pub(super) fn has_visible_xattrs(reader: &ImageReader<'_>, form: XattrForm) -> bool {
    search(reader, form).unwrap_or(true)
}

fn search(reader: &ImageReader<'_>, form: XattrForm) -> Result<bool, ReadError> {
    let mut found = false;
    let is_complete = walk(reader, |inode| {
        found = VisibleXattrs::new(reader, inode, form)?.next().is_some();
        Ok::<_, ReadError>(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(found || !is_complete)
}

/// Calls `visit` with the inode of each name, up to a number of names. Returns false if there are more.
pub(super) fn walk<E: From<ReadError>>(
    reader: &ImageReader<'_>,
    mut visit: impl FnMut(&RawInode) -> Result<ControlFlow<()>, E>,
) -> Result<bool, E> {
    let root = reader.root()?;
    let max_names = MAX_NAMES.min(reader.bytes().len() / DIRENT_LEN);
    let mut names = 0;
    if visit(&root)?.is_break() {
        return Ok(true);
    }
    let mut directories = vec![root];
    while let Some(directory) = directories.pop() {
        for entry in reader.entries(&directory)? {
            let entry = entry?;
            names += 1;
            if names > max_names {
                return Ok(false);
            }
            if matches!(entry.name, b"." | b"..") {
                continue;
            }
            let inode = reader.inode(entry.nid)?;
            if visit(&inode)?.is_break() {
                return Ok(true);
            }
            // A directory in two places ends the search by the number of names.
            if inode.kind() == Kind::Directory {
                directories.push(inode);
            }
        }
    }
    Ok(true)
}
