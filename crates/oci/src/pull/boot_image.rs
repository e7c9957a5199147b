//! The bootable image beside the image of the whole file system (`docs/format/oci.md`, section 3.3).

use std::error::Error;

use libcomposefs_image::Digest;
use libcomposefs_image::tree::Tree;
use libcomposefs_repo::{Format, Repository};

use crate::stored::{BOOT_IMAGE_REF, BOOT_IMAGE_REF_V1, IMAGE_REF, IMAGE_REF_V1};
use crate::stream::NamedRef;

/// The reason why a tree cannot become that of a bootable image.
pub type NoBootTree = Box<dyn Error + Send + Sync>;

/// Makes the tree of the bootable image of that of an image. Contents, such as those of an SELinux policy, are objects
/// of the repository.
pub type BootTree = fn(&Repository, &Tree) -> Result<Tree, NoBootTree>;

/// The images of the whole file system that a pull has made.
#[derive(Clone, Copy, Debug)]
pub(super) struct MadeImages {
    pub(super) image: Digest,
    pub(super) boot_image: Option<Digest>,
}

impl MadeImages {
    /// Returns the references of the configuration to the images.
    pub(super) fn references(&self, format: Format) -> Vec<NamedRef> {
        let (name, boot_name) = match format {
            Format::Legacy => (IMAGE_REF, BOOT_IMAGE_REF),
            _ => (IMAGE_REF_V1, BOOT_IMAGE_REF_V1),
        };
        let named = [(name, Some(self.image)), (boot_name, self.boot_image)];
        let named = named.into_iter().filter_map(|(name, digest)| Some((name, digest?)));
        named.map(|(name, digest)| NamedRef { name: name.to_owned(), digest }).collect()
    }
}
