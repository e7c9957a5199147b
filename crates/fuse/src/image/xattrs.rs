//! The extended attributes that a mount shows: the names as overlayfs has them, which hides its own.

use libcomposefs_image::erofs::read::{ImageReader, RawInode, RawXattr, RawXattrs, ReadError};

/// An attribute with the name that it is shown by.
#[derive(Clone, Copy, Debug)]
pub(super) struct VisibleXattr<'i> {
    prefix: &'static [u8],
    suffix: &'i [u8],
    pub(super) value: &'i [u8],
}

/// Iterates over the attributes of an inode that a mount shows.
#[derive(Debug)]
pub(super) struct VisibleXattrs<'r, 'i> {
    all: RawXattrs<'r, 'i>,
    has_acl: bool,
}

const TRUSTED: &[u8] = b"trusted.";
const OVERLAY: &[u8] = b"overlay.";

/// Returns true for the names of POSIX ACLs.
pub(super) fn is_acl(name: &[u8]) -> bool {
    matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default")
}

impl<'r, 'i> VisibleXattrs<'r, 'i> {
    pub(super) fn new(reader: &'r ImageReader<'i>, inode: &RawInode, has_acl: bool) -> Result<Self, ReadError> {
        Ok(Self { all: reader.xattrs(inode)?, has_acl })
    }
}

impl<'i> Iterator for VisibleXattrs<'_, 'i> {
    type Item = Result<VisibleXattr<'i>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.all.next()? {
                Ok(xattr) => {
                    if let Some(visible) = VisibleXattr::of(&xattr, self.has_acl) {
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
    fn of(xattr: &RawXattr<'i>, has_acl: bool) -> Option<Self> {
        let (prefix, suffix) = xattr.name_parts();
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
