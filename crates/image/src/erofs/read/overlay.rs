//! Telling what the writer added for overlayfs from what is the tree's own.

use super::error::{Defect, ReadError};
use super::reader::{ImageReader, RawInode};
use super::xattrs::RawXattr;
use crate::digest::Digest;
use crate::erofs::constants::{OPAQUE_PARENT, WHITEOUT, WHITEOUTS};
use crate::erofs::xattr::{TRUSTED, parse_metacopy};
use crate::tree::MAX_PATH;

/// The meaning of an attribute of the image for the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::erofs) enum Meaning<'a> {
    /// The attribute `trusted.overlay.metacopy`, which marks external content.
    Metacopy,
    /// The attribute `trusted.overlay.redirect`, which names the object.
    Redirect,
    /// Another one that overlayfs takes for its own, such as the root's `opaque`.
    Overlay,
    /// The tree's own: its prefix by number, and the rest of the name with one escape taken away.
    Own(u8, &'a [u8]),
}

pub(in crate::erofs) fn meaning<'a>(xattr: &RawXattr<'a>) -> Meaning<'a> {
    let (prefix, suffix) = xattr.name_key();
    match suffix.strip_prefix(b"overlay.").filter(|_| prefix == TRUSTED) {
        None => Meaning::Own(prefix, suffix),
        Some(b"metacopy") => Meaning::Metacopy,
        Some(b"redirect") => Meaning::Redirect,
        Some(rest) if rest.starts_with(b"overlay.") => Meaning::Own(TRUSTED, rest),
        Some(_) => Meaning::Overlay,
    }
}

/// The object that is the content of an external file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backing<'a> {
    /// Its path below the object directories.
    pub payload: Option<&'a [u8]>,
    /// The fs-verity digest of the content, if the image records one.
    pub digest: Option<Digest>,
}

/// The two attributes of a [`Backing`], as far as they were met.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::erofs) struct BackingXattrs<'a> {
    metacopy: Option<RawXattr<'a>>,
    redirect: Option<RawXattr<'a>>,
}

impl<'a> BackingXattrs<'a> {
    /// Takes note of an attribute. Of two with one name the first counts, as for the kernel.
    pub(in crate::erofs) fn note(&mut self, xattr: &RawXattr<'a>) {
        match meaning(xattr) {
            Meaning::Metacopy => drop(self.metacopy.get_or_insert(*xattr)),
            Meaning::Redirect => drop(self.redirect.get_or_insert(*xattr)),
            Meaning::Overlay | Meaning::Own(..) => {}
        }
    }

    /// Returns the object that holds the content of an inode; `None` if the content is in the image.
    pub(in crate::erofs) fn backing(&self, inode: &RawInode) -> Result<Option<Backing<'a>>, ReadError> {
        if !inode.is_external() {
            return match (self.metacopy, self.redirect) {
                (Some(xattr), _) => Err(inode.error(Defect::NotExternal("trusted.overlay.metacopy"), xattr.offset)),
                (_, Some(xattr)) => Err(inode.error(Defect::NotExternal("trusted.overlay.redirect"), xattr.offset)),
                (None, None) => Ok(None),
            };
        }
        let metacopy = self.metacopy.ok_or_else(|| inode.error(Defect::NoMetacopy, inode.offset()))?;
        let digest = match metacopy.value {
            [] => None,
            value => {
                let wrong = || inode.error(Defect::Metacopy(value.len()), metacopy.offset);
                Some(parse_metacopy(value).ok_or_else(wrong)?)
            }
        };
        let payload = self.redirect.map(|redirect| {
            let path = redirect.value.strip_prefix(b"/");
            let path = path.filter(|path| (1..=MAX_PATH).contains(&path.len()) && !path.contains(&0));
            path.ok_or_else(|| inode.error(Defect::Redirect(redirect.value.len()), redirect.offset))
        });
        Ok(Some(Backing { payload: payload.transpose()?, digest }))
    }
}

impl<'a> ImageReader<'a> {
    /// The object that is the content of a file; `None` for files whose content is in the image, and for all else.
    pub fn backing(&self, inode: &RawInode) -> Result<Option<Backing<'a>>, ReadError> {
        if !inode.is_external() {
            return Ok(None);
        }
        let mut noted = BackingXattrs::default();
        for xattr in self.xattrs(inode)? {
            noted.note(&xattr?);
        }
        noted.backing(inode)
    }
}

/// The whiteout markers of an inode that have the value the writer gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WhiteoutMarks(u8);

/// The attributes of an input whiteout.
pub(super) const WHITEOUT_MARKS: WhiteoutMarks = WhiteoutMarks(0b11);
/// The attributes of a directory that holds one.
pub(super) const PARENT_MARKS: WhiteoutMarks = WhiteoutMarks(0b1100);
/// Those that it has in addition from version 1 on.
pub(super) const OPAQUE_MARKS: WhiteoutMarks = WhiteoutMarks(0b11_0000);

/// Every attribute that is a mark: its name in the image, its value.
const MARKS: [(&str, &[u8]); 6] = [
    (WHITEOUT[0], b""),
    (WHITEOUT[1], b""),
    (WHITEOUTS[0], b""),
    (WHITEOUTS[1], b""),
    (OPAQUE_PARENT[0], b"x"),
    (OPAQUE_PARENT[1], b"x"),
];

impl WhiteoutMarks {
    /// The mark that an attribute is, or none.
    pub(super) fn of(xattr: &RawXattr<'_>) -> Self {
        // All of them have this in their name, and hardly any other attribute has.
        if !xattr.name_key().1.starts_with(b"overlay.") {
            return WhiteoutMarks(0);
        }
        let index = MARKS.iter().position(|(name, value)| xattr.is_named(name.as_bytes()) && xattr.value == *value);
        WhiteoutMarks(index.map_or(0, |index| 1 << index))
    }

    pub(super) fn with(self, other: WhiteoutMarks) -> WhiteoutMarks {
        WhiteoutMarks(self.0 | other.0)
    }

    pub(super) fn of_those(self, other: WhiteoutMarks) -> WhiteoutMarks {
        WhiteoutMarks(self.0 & other.0)
    }

    pub(super) fn has_all(self, other: WhiteoutMarks) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn has_any(self, other: WhiteoutMarks) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}
