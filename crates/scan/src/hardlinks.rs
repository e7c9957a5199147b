//! Inodes with several names.

use std::collections::HashMap;
use std::ffi::CString;

use libcomposefs_image::tree::{InodeId, TreeBuilder};

use crate::directory::{DirectoryRef, DirectoryUse};
use crate::error::Error;
use crate::stat::InodeKey;

/// The inodes with more than one link. The first name found is read like any file. The others are added once
/// everything is read, as another thread may still be reading the inode.
#[derive(Debug, Default)]
pub(crate) struct HardLinks {
    inodes: HashMap<InodeKey, Option<InodeId>>,
    later: Vec<(DirectoryRef, CString, InodeKey)>,
}

impl HardLinks {
    /// Returns true for the first name of an inode, which must then be read. Remembers the others.
    pub(crate) fn first_seen(&mut self, key: InodeKey, directory: &DirectoryUse, name: &std::ffi::CStr) -> bool {
        let first = !self.inodes.contains_key(&key);
        if first {
            self.inodes.insert(key, None);
        } else {
            self.later.push((directory.to_ref(), name.to_owned(), key));
        }
        first
    }

    /// Records that the inode was added to the tree.
    pub(crate) fn set(&mut self, key: InodeKey, id: InodeId) {
        self.inodes.insert(key, Some(id));
    }

    /// Adds the remembered names to the tree.
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
