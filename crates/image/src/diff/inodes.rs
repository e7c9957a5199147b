//! Two inodes beside each other.

use std::num::NonZeroU32;

use super::attributes::XattrComparison;
use super::{Field, FieldSet};
use crate::tree::{ByteSpan, Data, InodeId, Kind, StoredData, StoredInode, StoredPayload, Tree};
use crate::verity;

/// The permission bits of a mode.
pub(super) const PERMISSIONS: u16 = 0o7777;

/// Compares inodes of two trees.
#[derive(Debug)]
pub(super) struct InodeComparison<'t> {
    a: &'t Tree,
    b: &'t Tree,
    attributes: XattrComparison<'t>,
    have_one_algorithm: bool,
    /// The number of contents that could not be compared, because their digests are of two algorithms.
    pub(super) incomparable: usize,
}

/// The content of a regular file with a size above 0, as an image holds it.
#[derive(Clone, Copy, Debug)]
pub(super) enum StoredContent<'t> {
    Inline(&'t [u8]),
    External { payload: StoredPayload, digest: Option<u32> },
}

/// Returns the content of a regular file as an image holds it: empty and inline files have no payload and no digest
/// there, whatever the tree has. Returns `None` for an empty file.
pub(super) fn held(
    tree: &Tree,
    size: u64,
    content: ByteSpan,
    payload: StoredPayload,
    digest: Option<NonZeroU32>,
) -> Option<StoredContent<'_>> {
    match (size, content.len()) {
        (0, _) => None,
        (_, 0) => Some(StoredContent::External { payload, digest: StoredInode::digest_index(digest) }),
        _ => Some(StoredContent::Inline(tree.span(content))),
    }
}

impl<'t> InodeComparison<'t> {
    pub(super) fn new(a: &'t Tree, b: &'t Tree, ignored_xattrs: &[Vec<u8>]) -> Self {
        let have_one_algorithm = a.algorithm() == b.algorithm();
        Self { a, b, attributes: XattrComparison::new(a, b, ignored_xattrs), have_one_algorithm, incomparable: 0 }
    }

    /// Returns the fields that differ, except those about the names of an inode.
    pub(super) fn compare(&mut self, a: InodeId, b: InodeId) -> FieldSet {
        let (of_a, of_b) = (self.a.stored(a), self.b.stored(b));
        let mut fields = FieldSet::NONE;
        let mut note = |field, differs: bool| {
            if differs {
                fields.insert(field);
            }
        };
        let kinds = (of_a.kind(), of_b.kind());
        note(Field::Type, kinds.0 != kinds.1);
        note(Field::Mode, of_a.mode & PERMISSIONS != of_b.mode & PERMISSIONS);
        note(Field::Uid, of_a.uid != of_b.uid);
        note(Field::Gid, of_a.gid != of_b.gid);
        note(Field::Mtime, of_a.mtime() != of_b.mtime());
        note(Field::Rdev, kinds.0 == kinds.1 && of_a.rdev != of_b.rdev);
        note(Field::Xattrs, !self.attributes.are_equal(of_a.xattrs, of_b.xattrs));
        let has_count = kinds.0 != Kind::Directory && kinds.1 != Kind::Directory;
        note(Field::Nlink, has_count && of_a.nlink != of_b.nlink);
        match (of_a.data, of_b.data) {
            (StoredData::Symlink(a), StoredData::Symlink(b)) => {
                note(Field::Target, self.a.span(a) != self.b.span(b));
            }
            (
                StoredData::Regular { content, payload, digest },
                StoredData::Regular { content: content_b, payload: payload_b, digest: digest_b },
            ) => {
                note(Field::Size, of_a.size != of_b.size);
                let held_a = held(self.a, of_a.size, content, payload, digest);
                let held_b = held(self.b, of_b.size, content_b, payload_b, digest_b);
                let [content, storage, payload] = self.compare_held((a, held_a), (b, held_b));
                note(Field::Content, content);
                note(Field::Storage, storage);
                note(Field::Payload, payload);
            }
            // An image has no size of a device, but an inode of the long form where the size would need it.
            (StoredData::Special, StoredData::Special) => note(Field::Size, is_wide(of_a) != is_wide(of_b)),
            _ => {}
        }
        fields
    }

    /// Returns which of content, storage and payload differ.
    fn compare_held(
        &mut self,
        a: (InodeId, Option<StoredContent<'_>>),
        b: (InodeId, Option<StoredContent<'_>>),
    ) -> [bool; 3] {
        match (a.1, b.1) {
            (None, None) => [false; 3],
            (None, Some(_)) | (Some(_), None) => [true, false, false],
            (Some(StoredContent::Inline(a)), Some(StoredContent::Inline(b))) => [a != b, false, false],
            (Some(StoredContent::Inline(content)), Some(StoredContent::External { payload, digest })) => {
                [!is_content(self.b, content, payload, digest), true, false]
            }
            (Some(StoredContent::External { payload, digest }), Some(StoredContent::Inline(content))) => {
                [!is_content(self.a, content, payload, digest), true, false]
            }
            (
                Some(StoredContent::External { payload, digest }),
                Some(StoredContent::External { payload: payload_b, digest: digest_b }),
            ) => {
                let content = self.digests_differ(digest, digest_b);
                let own = is_own(payload, digest) && is_own(payload_b, digest_b);
                [content, false, !own && self.payloads_differ((a.0, payload), (b.0, payload_b))]
            }
        }
    }

    fn digests_differ(&mut self, a: Option<u32>, b: Option<u32>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) if self.have_one_algorithm => self.a.raw_digest(a) != self.b.raw_digest(b),
            (Some(_), Some(_)) => {
                self.incomparable += 1;
                false
            }
            (a, b) => a.is_some() != b.is_some(),
        }
    }

    fn payloads_differ(&self, a: (InodeId, StoredPayload), b: (InodeId, StoredPayload)) -> bool {
        match (a.1, b.1) {
            (StoredPayload::None, StoredPayload::None) => false,
            (StoredPayload::None, _) | (_, StoredPayload::None) => true,
            (StoredPayload::Object(a), StoredPayload::Object(b)) if self.have_one_algorithm => {
                self.a.raw_digest(a) != self.b.raw_digest(b)
            }
            (StoredPayload::Path(a), StoredPayload::Path(b)) => self.a.payload_path(a) != self.b.payload_path(b),
            _ => payload_text(self.a, a.0) != payload_text(self.b, b.0),
        }
    }
}

/// Returns `true` if the size of a device, FIFO or socket affects the image.
fn is_wide(inode: &StoredInode) -> bool {
    inode.size > u32::MAX.into() && !inode.is_whiteout()
}

/// Returns `true` if a payload is the object path of the digest.
pub(super) fn is_own(payload: StoredPayload, digest: Option<u32>) -> bool {
    matches!((payload, digest), (StoredPayload::Object(object), Some(digest)) if object == digest)
}

/// Returns `true` if bytes are the content that an external file names. If it has no digest, only the size counts,
/// which is compared elsewhere.
fn is_content(tree: &Tree, content: &[u8], payload: StoredPayload, digest: Option<u32>) -> bool {
    let object = match payload {
        StoredPayload::Object(object) => Some(object),
        StoredPayload::None | StoredPayload::Path(_) => None,
    };
    let Some(digest) = digest.or(object) else { return true };
    verity::digest(tree.algorithm(), content).as_bytes() == tree.raw_digest(digest)
}

fn payload_text(tree: &Tree, inode: InodeId) -> Option<Vec<u8>> {
    match tree.inode(inode).data() {
        Data::Regular { payload, .. } => payload.map(std::borrow::Cow::into_owned),
        _ => None,
    }
}
