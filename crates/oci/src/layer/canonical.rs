//! The metadata that the tree of an image has whatever its layers say (`docs/format/oci.md`, section 1.3).

use libcomposefs_image::tree::{LayerInode, Layers};

use super::LayerError;

/// The extended attributes that a tree keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum XattrFilter {
    /// `security.capability` alone.
    #[default]
    Allowlist,
    /// `security.capability` and all that begin with `user.`.
    User,
    /// All. No image that other programs make has them; an explanation of a digest begins with them.
    All,
}

impl XattrFilter {
    /// Returns true if an attribute of this name is kept.
    #[must_use]
    pub fn keeps(self, name: &[u8]) -> bool {
        match self {
            Self::Allowlist => name == b"security.capability",
            Self::User => name == b"security.capability" || name.starts_with(b"user."),
            Self::All => true,
        }
    }
}

/// Does what [`canonical`] does as far as the tree has what it needs: a layer in the middle may lack `/usr`.
pub(super) fn canonical_so_far(layers: &mut Layers) -> Result<(), LayerError> {
    match canonical(layers) {
        Err(LayerError::Canonical(_)) => Ok(()),
        answer => answer,
    }
}

/// Gives the root the metadata of `/usr`, and empties `/run`, whose time becomes that of `/usr`.
pub(super) fn canonical(layers: &mut Layers) -> Result<(), LayerError> {
    let usr = layers.find(LayerInode::ROOT, b"usr").filter(|usr| layers.is_directory(*usr));
    let usr = usr.ok_or(LayerError::Canonical(
        "the image has no directory /usr, whose metadata the root of the composefs image takes",
    ))?;
    let mtime = layers.mtime(usr);
    layers.copy_metadata(usr, LayerInode::ROOT)?;
    if let Some(run) = layers.find(LayerInode::ROOT, b"run") {
        if !layers.is_directory(run) {
            return Err(LayerError::Canonical("/run of the image is no directory"));
        }
        layers.clear(run);
        layers.set_mtime(run, mtime)?;
    }
    Ok(())
}
