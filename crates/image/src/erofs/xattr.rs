//! One attribute of the image: its name, its value and its entry.

use std::borrow::Cow;
use std::cmp::Ordering;

use twox_hash::XxHash32;

use super::constants::{METACOPY, REDIRECT, round_up};
use super::format_version::SharedOrder;
use super::node::NodeIndex;
use super::overlay::Overlay;
use crate::digest::{Algorithm, Digest};
use crate::tree::{PairId, StoredPayload};

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

/// The prefixes of names, indexed by number (`EROFS_XATTR_INDEX_*`, `fs/erofs/erofs_fs.h`). With number 0 the whole
/// name is stored.
const PREFIXES: [&[u8]; 7] =
    [b"", b"user.", b"system.posix_acl_access", b"system.posix_acl_default", b"trusted.", b"lustre.", b"security."];
/// The number of `trusted.`, where overlayfs's attributes are.
pub(super) const TRUSTED: u8 = 4;
/// The number of `lustre.`, which versions 0 and 1 do not use: they write such names whole.
pub(super) const LUSTRE: u8 = 5;
/// Seed of the name filter; the prefix's number is added (`EROFS_XATTR_FILTER_SEED`).
const FILTER_SEED: u32 = 0x25bb_e08f;

/// The number of a name's prefix, the first that fits, and the rest of the name.
pub(super) fn split_name(name: &[u8], has_lustre: bool) -> (u8, &[u8]) {
    let written = PREFIXES.iter().zip(0u8..).filter(|(_, number)| *number != 0 && (*number != LUSTRE || has_lustre));
    let fits = written.filter_map(|(prefix, number)| Some((number, name.strip_prefix(*prefix)?)));
    fits.into_iter().next().unwrap_or((0, name))
}

/// The prefix with this number.
pub(super) fn prefix(number: u8) -> Option<&'static [u8]> {
    PREFIXES.get(usize::from(number)).copied()
}

/// The bit of an inode's name filter that an attribute clears.
pub(super) fn filter_bit(index: u8, suffix: &[u8]) -> u32 {
    1 << (XxHash32::oneshot(FILTER_SEED.wrapping_add(u32::from(index)), suffix) % 32)
}

/// The value of `trusted.overlay.metacopy` for a digest: `struct ovl_metacopy`, `fs/overlayfs/overlayfs.h`, of version,
/// length, flags, digest algorithm and digest.
fn emit_metacopy(digest: &Digest) -> Vec<u8> {
    let len = METACOPY_HEADER_LEN + digest.as_bytes().len();
    [&[0, len as u8, 0, digest.algorithm().kernel_number()], digest.as_bytes()].concat()
}

/// The digest in a value of `trusted.overlay.metacopy` that is not empty; `None` if it is no record of this form.
pub(super) fn parse_metacopy(value: &[u8]) -> Option<Digest> {
    let (&[version, len, flags, number], raw) = value.split_first_chunk::<METACOPY_HEADER_LEN>()?;
    let well_formed = version == 0 && usize::from(len) == value.len() && flags == 0;
    Digest::new(Algorithm::from_kernel_number(number).filter(|_| well_formed)?, raw)
}

const METACOPY_HEADER_LEN: usize = 4;

/// Length of [`EntryHead`] in bytes.
pub(super) const ENTRY_HEAD_LEN: usize = 4;

/// The header of an attribute's entry (`struct erofs_xattr_entry`); the name and the value follow it.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryHead {
    pub(super) name_len: u8,
    pub(super) prefix: u8,
    pub(super) value_len: u16,
}

impl EntryHead {
    pub(super) fn emit(self) -> [u8; ENTRY_HEAD_LEN] {
        let [low, high] = self.value_len.to_le_bytes();
        [self.name_len, self.prefix, low, high]
    }

    pub(super) fn parse([name_len, prefix, low, high]: [u8; ENTRY_HEAD_LEN]) -> Self {
        Self { name_len, prefix, value_len: u16::from_le_bytes([low, high]) }
    }
}

impl Attr {
    /// All attributes of an inode in name order, into a list that is emptied first.
    pub(super) fn list(overlay: &Overlay<'_>, node: NodeIndex, attrs: &mut Vec<Attr>) {
        attrs.clear();
        let set = overlay.set_of(node);
        let pairs = overlay.xattrs.pairs_of(set).iter().map(|&pair| Attr::Pair(pair));
        let Some((payload, digest)) = overlay.external(node) else {
            attrs.extend(pairs);
            return;
        };
        let [metacopy_at, redirect_at] = overlay.generated_at[set.0 as usize];
        for (index, pair) in pairs.enumerate() {
            if index as u32 == metacopy_at {
                attrs.push(Attr::Metacopy(digest));
            }
            if index as u32 == redirect_at {
                attrs.extend(Attr::redirect(payload));
            }
            attrs.push(pair);
        }
        let len = overlay.xattrs.pairs_of(set).len() as u32;
        if metacopy_at == len {
            attrs.push(Attr::Metacopy(digest));
        }
        if redirect_at == len {
            attrs.extend(Attr::redirect(payload));
        }
    }

    pub(super) fn redirect(payload: StoredPayload) -> Option<Self> {
        match payload {
            StoredPayload::None => None,
            StoredPayload::Object(digest) => Some(Attr::RedirectObject(digest)),
            StoredPayload::Path(path) => Some(Attr::RedirectPath(path)),
        }
    }

    pub(super) fn name<'a>(&self, overlay: &'a Overlay<'_>) -> &'a [u8] {
        match self {
            Attr::Pair(pair) => overlay.xattrs.pair(*pair).name,
            Attr::Metacopy(_) => METACOPY,
            Attr::RedirectObject(_) | Attr::RedirectPath(_) => REDIRECT,
        }
    }

    /// The number of the name's prefix, and the rest.
    pub(super) fn split_name<'a>(&self, overlay: &'a Overlay<'_>) -> (u8, &'a [u8]) {
        split_name(self.name(overlay), overlay.profile.has_lustre_prefix)
    }

    pub(super) fn value_len(&self, overlay: &Overlay<'_>) -> usize {
        match self {
            Attr::Pair(pair) => overlay.xattrs.pair(*pair).value.len(),
            Attr::Metacopy(None) => 0,
            Attr::Metacopy(Some(_)) => METACOPY_HEADER_LEN + overlay.tree.algorithm().digest_len(),
            Attr::RedirectObject(_) => 2 + 2 * overlay.tree.algorithm().digest_len(),
            Attr::RedirectPath(path) => 1 + overlay.tree.payload_path(*path).len(),
        }
    }

    pub(super) fn value<'a>(&self, overlay: &'a Overlay<'_>) -> Cow<'a, [u8]> {
        match self {
            Attr::Pair(pair) => Cow::Borrowed(overlay.xattrs.pair(*pair).value),
            Attr::Metacopy(None) => Cow::Borrowed(&[]),
            Attr::Metacopy(Some(digest)) => Cow::Owned(emit_metacopy(&overlay.tree.digest(*digest))),
            Attr::RedirectObject(digest) => {
                Cow::Owned([b"/", overlay.tree.digest(*digest).object_path().as_bytes()].concat())
            }
            Attr::RedirectPath(path) => Cow::Owned([b"/", overlay.tree.payload_path(*path)].concat()),
        }
    }

    /// The length of the entry: header, name less its prefix, value, padding to four bytes.
    pub(super) fn entry_len(&self, overlay: &Overlay<'_>) -> u64 {
        let name = self.split_name(overlay).1;
        round_up((ENTRY_HEAD_LEN + name.len() + self.value_len(overlay)) as u64, 4)
    }

    /// Appends the entry to `out`.
    pub(super) fn emit(&self, overlay: &Overlay<'_>, out: &mut Vec<u8>) {
        let (index, name) = self.split_name(overlay);
        let value = self.value(overlay);
        let start = out.len();
        let head = EntryHead { name_len: name.len() as u8, prefix: index, value_len: value.len() as u16 };
        out.extend_from_slice(&head.emit());
        out.extend_from_slice(name);
        out.extend_from_slice(&value);
        out.resize(start + round_up((out.len() - start) as u64, 4) as usize, 0);
    }

    /// The order of the shared area.
    pub(super) fn cmp_shared(&self, other: &Attr, overlay: &Overlay<'_>) -> Ordering {
        match overlay.profile.shared_order {
            SharedOrder::Descending => {
                let by_name = other.name(overlay).cmp(self.name(overlay));
                let by_len = || other.value_len(overlay).cmp(&self.value_len(overlay));
                by_name.then_with(by_len).then_with(|| other.cmp_value(self, overlay))
            }
            SharedOrder::AscendingByPrefix => {
                let by_name = self.split_name(overlay).cmp(&other.split_name(overlay));
                by_name.then_with(|| self.cmp_value(other, overlay))
            }
        }
    }

    fn cmp_value(&self, other: &Attr, overlay: &Overlay<'_>) -> Ordering {
        match (self, other) {
            // The hex of two digests is ordered as they are.
            (Attr::Metacopy(Some(a)), Attr::Metacopy(Some(b))) | (Attr::RedirectObject(a), Attr::RedirectObject(b)) => {
                overlay.tree.raw_digest(*a).cmp(overlay.tree.raw_digest(*b))
            }
            _ => self.value(overlay).cmp(&other.value(overlay)),
        }
    }
}
