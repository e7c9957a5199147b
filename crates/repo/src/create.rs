//! Images of directory trees.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcomposefs_content::Progress;
use libcomposefs_image::erofs::WriteError;
use libcomposefs_image::tree::Tree;
use libcomposefs_scan as scan;

use crate::{Created, RefName, Repository, RepositoryError};

impl Repository {
    /// Makes an image of a directory tree, with all its contents, and gives it a name. All of it is on disk when this
    /// returns.
    ///
    /// # Errors
    ///
    /// If the tree cannot be read or stored. Then nothing is published.
    pub fn create(
        &self,
        source: &Path,
        options: &scan::Options,
        name: Option<&RefName>,
        progress: &dyn Progress,
    ) -> Result<Created, RepositoryError> {
        let transaction = self.transaction()?;
        let tree = transaction.scan(source, options, progress)?;
        let image = self.meta.format.plan(&tree).map_err(|error| cannot_write(source, &tree, error))?;
        transaction.commit_image(&tree, &image, name.cloned().into_iter().collect())
    }
}

/// Returns the error of the image writer, with the path in the source that it is about.
pub(crate) fn cannot_write(source: &Path, tree: &Tree, error: WriteError) -> RepositoryError {
    let path = match error.inode() {
        None => source.to_owned(),
        Some(inode) => {
            let below = tree.path_of(inode);
            let below = OsStr::from_bytes(below.strip_prefix(b"/").unwrap_or(&below));
            if below.is_empty() { source.to_owned() } else { PathBuf::from(source).join(below) }
        }
    };
    RepositoryError::Write { path, source: error }
}
