//! Several names of one inode.

use std::collections::HashMap;
use std::ffi::CString;

use libcomposefs_image::tree::{InodeId, TreeBuilder};

use crate::directory::{DirectoryUse, Place};
use crate::error::Error;

/// Names an inode of the scanned file system: device and inode number.
pub(crate) type Key = (u64, u64);

/// The inodes with more than one link. The first name met is read like any file; the others wait until all is read, as
/// another thread may still be at it.
#[derive(Debug, Default)]
pub(crate) struct Links {
    inodes: HashMap<Key, Option<InodeId>>,
    later: Vec<(Place, CString, Key)>,
}

impl Links {
    /// True for the one who comes first and must read the inode.
    pub(crate) fn claim(&mut self, key: Key, directory: &DirectoryUse, name: &std::ffi::CStr) -> bool {
        let first = !self.inodes.contains_key(&key);
        if first {
            self.inodes.insert(key, None);
        } else {
            self.later.push((directory.place(), name.to_owned(), key));
        }
        first
    }

    /// The inode that was claimed is in the tree.
    pub(crate) fn set(&mut self, key: Key, id: InodeId) {
        self.inodes.insert(key, Some(id));
    }

    /// Adds the names that waited.
    pub(crate) fn add_to(self, builder: &mut TreeBuilder) -> Result<(), Error> {
        for (directory, name, key) in self.later {
            let id = self.inodes[&key].expect("every claimed inode was added, or the scan had failed");
            builder
                .add_link(directory.id(), name.to_bytes(), id)
                .map_err(|error| Error::from_tree(error, || directory.path_of(name.to_bytes())))?;
        }
        Ok(())
    }
}
