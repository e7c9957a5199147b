//! One attribute of the image: its name, its value and its entry.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::layout::round_up;
use super::overlay::Overlay;
use crate::tree::{PairId, Payload};

pub(super) const METACOPY: &[u8] = b"trusted.overlay.metacopy";
pub(super) const REDIRECT: &[u8] = b"trusted.overlay.redirect";

/// An attribute. Those of external files are made from the tree on demand: nearly every one is unlike all others,
/// and to keep them would cost as much as the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attr {
    /// A pair of the overlay's table.
    Pair(PairId),
    /// `trusted.overlay.metacopy` for a digest of the tree, or for none.
    Metacopy(Option<u32>),
    /// `trusted.overlay.redirect` to the object path of a digest of the tree.
    RedirectObject(u32),
    /// `trusted.overlay.redirect` to another path of the tree.
    RedirectPath(u32),
}

/// The prefixes an entry names by number, in the order in which they are tried (`enum erofs_xattr`, `fs/erofs/xattr.h`).
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// The number of a name's prefix, and the rest of the name.
pub(super) fn split_name(name: &[u8]) -> (u8, &[u8]) {
    PREFIXES.iter().find_map(|(prefix, index)| Some((*index, name.strip_prefix(*prefix)?))).unwrap_or((0, name))
}

impl Attr {
    pub(super) fn redirect(payload: Payload) -> Option<Self> {
        match payload {
            Payload::None => None,
            Payload::Object(digest) => Some(Attr::RedirectObject(digest)),
            Payload::Path(path) => Some(Attr::RedirectPath(path)),
        }
    }

    pub(super) fn name<'a>(&self, overlay: &'a Overlay<'_>) -> &'a [u8] {
        match self {
            Attr::Pair(pair) => overlay.xattrs.pair(*pair).name,
            Attr::Metacopy(_) => METACOPY,
            Attr::RedirectObject(_) | Attr::RedirectPath(_) => REDIRECT,
        }
    }

    pub(super) fn value_len(&self, overlay: &Overlay<'_>) -> usize {
        match self {
            Attr::Pair(pair) => overlay.xattrs.pair(*pair).value.len(),
            Attr::Metacopy(None) => 0,
            Attr::Metacopy(Some(_)) => 4 + overlay.tree.algorithm().digest_len(),
            Attr::RedirectObject(_) => 2 + 2 * overlay.tree.algorithm().digest_len(),
            Attr::RedirectPath(path) => 1 + overlay.tree.payload_path(*path).len(),
        }
    }

    pub(super) fn value<'a>(&self, overlay: &'a Overlay<'_>) -> Cow<'a, [u8]> {
        match self {
            Attr::Pair(pair) => Cow::Borrowed(overlay.xattrs.pair(*pair).value),
            Attr::Metacopy(None) => Cow::Borrowed(&[]),
            Attr::Metacopy(Some(digest)) => {
                // struct ovl_metacopy, fs/overlayfs/overlayfs.h: version, length, flags, digest algorithm, digest.
                let digest = overlay.tree.digest(*digest);
                let len = 4 + digest.as_bytes().len();
                Cow::Owned([&[0, len as u8, 0, digest.algorithm().kernel_number()], digest.as_bytes()].concat())
            }
            Attr::RedirectObject(digest) => {
                Cow::Owned([b"/", overlay.tree.digest(*digest).object_path().as_bytes()].concat())
            }
            Attr::RedirectPath(path) => Cow::Owned([b"/", overlay.tree.payload_path(*path)].concat()),
        }
    }

    /// The length of the entry: header, name less its prefix, value, padding to four bytes.
    pub(super) fn entry_len(&self, overlay: &Overlay<'_>) -> u64 {
        let name = split_name(self.name(overlay)).1;
        round_up((4 + name.len() + self.value_len(overlay)) as u64, 4)
    }

    /// Appends the entry.
    pub(super) fn emit(&self, overlay: &Overlay<'_>, out: &mut Vec<u8>) {
        let (index, name) = split_name(self.name(overlay));
        let value = self.value(overlay);
        let start = out.len();
        out.extend_from_slice(&[name.len() as u8, index]);
        out.extend_from_slice(&(value.len() as u16).to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(&value);
        out.resize(start + round_up((out.len() - start) as u64, 4) as usize, 0);
    }

    /// The order of the shared area, backwards: by name, then the shorter value, then its bytes.
    pub(super) fn cmp_shared(&self, other: &Attr, overlay: &Overlay<'_>) -> Ordering {
        let by_name = || self.name(overlay).cmp(other.name(overlay));
        let by_len = || self.value_len(overlay).cmp(&other.value_len(overlay));
        let by_value = || match (self, other) {
            // The hex of two digests is ordered as they are.
            (Attr::Metacopy(Some(a)), Attr::Metacopy(Some(b))) | (Attr::RedirectObject(a), Attr::RedirectObject(b)) => {
                overlay.tree.raw_digest(*a).cmp(overlay.tree.raw_digest(*b))
            }
            _ => self.value(overlay).cmp(&other.value(overlay)),
        };
        by_name().then_with(by_len).then_with(by_value)
    }
}
