//! Functions for the fuzz targets, with the feature `fuzzing`. Not part of the interface.

use libcomposefs_image::erofs::Versions;
use rustix::io::Errno;

use crate::load::from_image;
use crate::write::write;

/// An image that was loaded: how often its nodes could be written again.
#[derive(Debug)]
pub struct Loaded {
    /// The digest of the image that is written of the nodes, if they have one.
    pub again: Result<[u8; 32], Errno>,
}

/// Loads an image as `lcfs_load_node_from_image` does, and writes its nodes as `lcfs_write_to` does, in one format
/// version.
///
/// # Errors
///
/// What the C function says in `errno`.
pub fn load(image: &[u8], version: u32) -> Result<Loaded, Errno> {
    let root = from_image(image, &[])?;
    let written = write(&root, Versions::exactly(version), true, None);
    Ok(Loaded { again: written.and_then(|written| written.digest.ok_or(Errno::INVAL)) })
}
