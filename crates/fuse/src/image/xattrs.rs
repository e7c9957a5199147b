//! The extended attributes that a mount shows: the names as overlayfs has them, which hides its own.

use libcomposefs_image::erofs::read::{ImageReader, RawInode, RawXattr, RawXattrs, ReadError};

/// An attribute with the name that it is shown by.
#[derive(Clone, Copy, Debug)]
pub(super) struct VisibleXattr<'i> {
    prefix: &'static [u8],
    suffix: &'i [u8],
    pub(super) value: &'i [u8],
}

/// The form in which attributes are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShownAttributes {
    /// As a mount shows them.
    #[default]
    Mount,
    /// As overlayfs with `userxattr` reads them from a layer: its own by the names of `user.overlay.`, those of the
    /// tree that begin so with an escape, and none of `trusted.`, which a user could list and not copy.
    Layer,
}

/// Iterates over the attributes of an inode that are shown.
#[derive(Debug)]
pub(super) struct VisibleXattrs<'r, 'i> {
    all: RawXattrs<'r, 'i>,
    form: XattrForm,
}

/// What decides on the attributes that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct XattrForm {
    pub(super) has_acl: bool,
    pub(super) shown: ShownAttributes,
}

const TRUSTED: &[u8] = b"trusted.";
const OVERLAY: &[u8] = b"overlay.";
const USER: &[u8] = b"user.";
const USER_OVERLAY: &[u8] = b"user.overlay.";
const USER_OVERLAY_ESCAPED: &[u8] = b"user.overlay.overlay.";

/// Returns true for the names of POSIX ACLs.
pub(super) fn is_acl(name: &[u8]) -> bool {
    matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default")
}

impl<'r, 'i> VisibleXattrs<'r, 'i> {
    pub(super) fn new(reader: &'r ImageReader<'i>, inode: &RawInode, form: XattrForm) -> Result<Self, ReadError> {
        Ok(Self { all: reader.xattrs(inode)?, form })
    }
}

impl<'i> Iterator for VisibleXattrs<'_, 'i> {
    type Item = Result<VisibleXattr<'i>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.all.next()? {
                Ok(xattr) => {
                    if let Some(visible) = VisibleXattr::of(&xattr, self.form) {
                        return Some(Ok(visible));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl<'i> VisibleXattr<'i> {
    /// Returns the attribute as it is shown; `None` if it is not.
    fn of(xattr: &RawXattr<'i>, form: XattrForm) -> Option<Self> {
        let (prefix, suffix) = xattr.name_parts();
        let XattrForm { has_acl, shown } = form;
        if shown == ShownAttributes::Layer
            && let Some(in_layer) = Self::in_layer(prefix, suffix, xattr.value)
        {
            return in_layer;
        }
        let suffix = match prefix {
            // EROFS has handlers for these and for ACLs only.
            b"user." | b"security." => suffix,
            TRUSTED => match suffix.strip_prefix(OVERLAY) {
                // Overlayfs takes one escape away.
                Some(rest) if rest.starts_with(OVERLAY) => rest,
                Some(_) => return None,
                None => suffix,
            },
            acl if is_acl(acl) && suffix.is_empty() && has_acl => suffix,
            _ => return None,
        };
        Some(Self { prefix, suffix, value: xattr.value })
    }

    /// Returns the attribute as overlayfs reads it from a layer, `Some(None)` if it is hidden, and `None` if it is the
    /// same as on a mount.
    fn in_layer(prefix: &[u8], suffix: &'i [u8], value: &'i [u8]) -> Option<Option<Self>> {
        match prefix {
            TRUSTED => Some(match suffix.strip_prefix(OVERLAY) {
                Some(suffix @ (b"metacopy" | b"redirect")) => Some(Self { prefix: USER_OVERLAY, suffix, value }),
                _ => None,
            }),
            USER => {
                let suffix = suffix.strip_prefix(OVERLAY)?;
                Some(Some(Self { prefix: USER_OVERLAY_ESCAPED, suffix, value }))
            }
            _ => None,
        }
    }

    pub(super) fn is_named(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.prefix) == Some(self.suffix)
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.prefix == TRUSTED
    }

    /// Appends the name and a zero byte.
    pub(super) fn put_name(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix);
        out.extend_from_slice(self.suffix);
        out.push(0);
    }
}
