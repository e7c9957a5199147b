//! The marks of layers: entries and attributes that remove what lower layers have.

use crate::tree::{Inode, Kind, Xattr};

/// The effect of an entry of a layer on the tree below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerMark<'a> {
    /// The entry is an ordinary file.
    None,
    /// The entry of this name is removed.
    Whiteout(&'a [u8]),
    /// All entries of the directory that are from lower layers are removed.
    Opaque,
    /// The entry has no effect: a name that is reserved for marks, but means nothing.
    Ignored,
}

impl<'a> LayerMark<'a> {
    /// Returns the meaning of a name in an OCI layer: `.wh.NAME` removes `NAME`, `.wh..wh..opq` makes the directory
    /// opaque. Other names that begin with `.wh..wh.` (from AUFS), and `.wh.` with nothing, `.` or `..` after it, have
    /// no effect.
    #[must_use]
    pub fn of_oci_name(name: &'a [u8]) -> Self {
        match name.strip_prefix(b".wh.") {
            None => LayerMark::None,
            Some(b".wh..opq") => LayerMark::Opaque,
            Some(b"" | b"." | b"..") => LayerMark::Ignored,
            Some(rest) if rest.starts_with(b".wh.") => LayerMark::Ignored,
            Some(rest) => LayerMark::Whiteout(rest),
        }
    }
}

/// The marks that a tree used as a layer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MarkStyle {
    /// No entry is a mark: the layer only adds and replaces.
    None,
    /// Marks are names, as [`LayerMark::of_oci_name`] reads them.
    Oci,
    /// A whiteout is a character device with device number 0, and a directory is opaque if its attribute
    /// `trusted.overlay.opaque` or `user.overlay.opaque` is `y`. The merged tree has neither: the attribute is dropped.
    Overlayfs,
}

/// Returns `true` if an entry of a layer is a mark, which the merged tree does not have.
pub(super) fn is_mark(inode: &Inode<'_>, name: &[u8], marks: MarkStyle) -> bool {
    match marks {
        MarkStyle::None => false,
        MarkStyle::Oci => LayerMark::of_oci_name(name) != LayerMark::None,
        MarkStyle::Overlayfs => inode.kind() == Kind::CharDevice && inode.rdev() == 0,
    }
}

/// Returns `true` if an attribute makes its directory opaque for overlayfs.
pub(super) fn is_overlay_opaque(xattr: &Xattr<'_>) -> bool {
    matches!(xattr.name, b"trusted.overlay.opaque" | b"user.overlay.opaque") && xattr.value == b"y"
}
