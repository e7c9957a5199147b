//! The attributes of one inode, and what they say of its content.

use super::byte_map::Owner;
use super::finding::Problem;
use super::walk::Walk;
use crate::digest::Digest;
use crate::display::shown;
use crate::erofs::constants::OPAQUE_PARENT;
use crate::erofs::constants::{XATTR_HEADER_LEN, round_up};
use crate::erofs::read::{Backing, BackingXattrs, Defect, Meaning, RawInode, RawXattr, meaning};
use crate::erofs::xattr::prefix;
use crate::tree::MAX_XATTR_NAME;

impl Walk<'_, '_> {
    pub(super) fn check_attributes(&mut self, index: u32, inode: &RawInode) {
        let reader = self.reader;
        let xattrs = match reader.xattrs(inode) {
            Ok(xattrs) => xattrs.unfiltered().going_on(),
            Err(error) => return self.refused(index, error),
        };
        let (mut all, mut is_whole) = (Vec::new(), true);
        for xattr in xattrs {
            match xattr {
                Ok(xattr) => all.push(xattr),
                Err(error) => {
                    is_whole = false;
                    self.refused(index, error);
                }
            }
        }
        self.check_filter(index, inode, &all, is_whole);
        let mut backing = BackingXattrs::default();
        for xattr in &all {
            self.check_attribute(index, inode, xattr);
            backing.note(xattr);
        }
        self.check_names(index, all);
        // Of attributes that cannot be read it is not known what they say.
        match backing.backing(inode) {
            Ok(Some(backing)) => self.check_backing(index, inode, &backing),
            Ok(None) => {}
            Err(error) if is_whole || error.defect != Defect::NoMetacopy => self.refused(index, error),
            Err(_) => {}
        }
    }

    /// The filter has no bit that hides an attribute, and no other one cleared.
    fn check_filter(&mut self, index: u32, inode: &RawInode, all: &[RawXattr<'_>], is_whole: bool) {
        let offset = inode.xattr_offset();
        let head = self.reader.slice(offset, inode.xattr_len()).and_then(<[u8]>::first_chunk::<4>);
        let Some(head) = head else { return };
        self.check_unused(index, offset + 5, offset + XATTR_HEADER_LEN, "the xattrs");
        if !self.reader.has_xattr_filter() {
            return;
        }
        let found = u32::from_le_bytes(*head);
        for hidden in all.iter().filter(|xattr| found & xattr.filter_bit() != 0) {
            let defect = Defect::XattrHidden(shown(&hidden.name()));
            self.refused(index, defect.of(inode.nid(), offset));
        }
        let expected = all.iter().fold(u32::MAX, |filter, xattr| filter & !xattr.filter_bit());
        if is_whole && found & expected != expected {
            self.found(index, offset, Problem::Filter { found, expected });
        }
    }

    fn check_attribute(&mut self, index: u32, inode: &RawInode, xattr: &RawXattr<'_>) {
        let end = xattr.offset + xattr.entry_len();
        match xattr.reference {
            None => self.check_unused(index, end, round_up(end, 4), "the xattrs"),
            Some(reference) if self.attributes.shared.insert(reference) => {
                self.claim(xattr.offset, xattr.entry_len(), Owner::Shared);
            }
            Some(_) => {}
        }
        let is_acl = |name: &str| xattr.is_named(name.as_bytes());
        self.attributes.has_acl |= is_acl("system.posix_acl_access") || is_acl("system.posix_acl_default");
        if index == 0 && xattr.is_named(b"trusted.overlay.opaque") {
            self.attributes.root_is_opaque |= xattr.value == b"y";
        }
        if xattr.is_named(OPAQUE_PARENT[0].as_bytes()) && xattr.value == b"x" {
            self.attributes.not_opaque += 1;
            self.attributes.first_not_opaque.get_or_insert(index);
        }
        if let Meaning::Own(number, suffix) = meaning(xattr) {
            let len = prefix(number).unwrap_or_default().len() + suffix.len();
            if len > MAX_XATTR_NAME {
                self.refused(index, Defect::XattrName(len).of(inode.nid(), xattr.offset));
            }
        }
    }

    fn check_names(&mut self, index: u32, mut all: Vec<RawXattr<'_>>) {
        all.sort_by_key(RawXattr::name_key);
        for pair in all.windows(2) {
            if let [first, second] = pair
                && first.name_key() == second.name_key()
            {
                self.found(index, second.offset, Problem::XattrTwice(shown(&second.name())));
            }
        }
    }

    /// Path and digest of the object agree, and all digests are of one algorithm.
    fn check_backing(&mut self, index: u32, inode: &RawInode, backing: &Backing<'_>) {
        let at = inode.offset();
        let Some(digest) = backing.digest else {
            self.found(index, at, Problem::NoDigest);
            return self.check_payload(index, at, backing.payload, None);
        };
        let (found, expected) = (digest.algorithm(), *self.attributes.algorithm.get_or_insert(digest.algorithm()));
        if found != expected {
            let defect = Defect::Algorithm { found, expected };
            self.refused(index, defect.of(inode.nid(), inode.xattr_offset()));
        }
        self.check_payload(index, at, backing.payload, Some(&digest));
    }

    fn check_payload(&mut self, index: u32, at: u64, payload: Option<&[u8]>, digest: Option<&Digest>) {
        match (payload, digest) {
            (None, _) => self.found(index, at, Problem::NoObject),
            (Some(payload), Some(digest)) if !digest.has_object_path(payload) => {
                let problem = Problem::OtherObject { payload: shown(payload), digest: digest.object_path() };
                self.found(index, at, problem);
            }
            _ => {}
        }
    }
}
