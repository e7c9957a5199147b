//! The attributes of inodes, sorted out and kept in the tree's table.

use hashbrown::HashMap;

use super::byte_map::UsedBytes;
use super::error::{Defect, ReadError};
use super::overlay::{BackingXattrs, Meaning, WhiteoutMarks, meaning};
use super::reader::{ImageReader, RawInode};
use super::xattrs::RawXattr;
use crate::erofs::constants::OPAQUE_PARENT;
use crate::erofs::xattr::prefix;
use crate::tree::{
    MAX_XATTR_NAME, MAX_XATTRS_TOTAL, PairId, SetId, TreeError, XATTRS_BASE, XattrError, XattrTable, xattr_cost,
};

/// The attributes of an inode, separated into the tree's own and those that the writer added.
#[derive(Debug)]
pub(super) struct SplitXattrs<'a> {
    pub(super) backing: BackingXattrs<'a>,
    pub(super) marks: WhiteoutMarks,
    /// Those that are the tree's own.
    pub(super) set: SetId,
}

/// Collects the attributes of one inode after the other.
#[derive(Debug, Default)]
pub(super) struct XattrCollector<'a> {
    /// The shared attributes met, and what they are in the table once they were put there.
    shared: HashMap<u32, Option<PairId>>,
    own: Vec<TreeXattr<'a>>,
    pairs: Vec<PairId>,
}

/// An attribute that is the tree's own.
#[derive(Clone, Copy, Debug)]
struct TreeXattr<'a> {
    /// The prefix by number, and the rest.
    name: (u8, &'a [u8]),
    value: &'a [u8],
    reference: Option<u32>,
}

/// The total length that one inode's attributes may have: the limit of a tree, and the `opaque` that the writer adds to
/// directories of whiteouts.
const MAX_TOTAL: usize =
    MAX_XATTRS_TOTAL + xattr_cost("trusted.overlay.opaque".len(), 1) + xattr_cost(OPAQUE_PARENT[1].len(), 1);

impl<'a> XattrCollector<'a> {
    /// Collects the attributes of an inode. Those that are a mark of `dropped` do not go to the tree.
    pub(super) fn collect(
        &mut self,
        reader: &ImageReader<'a>,
        inode: &RawInode,
        dropped: WhiteoutMarks,
        claims: &mut UsedBytes,
        table: &mut XattrTable,
    ) -> Result<SplitXattrs<'a>, ReadError> {
        let mut attributes =
            SplitXattrs { backing: BackingXattrs::default(), marks: WhiteoutMarks::default(), set: SetId(0) };
        self.own.clear();
        for xattr in reader.xattrs(inode)? {
            let xattr = xattr?;
            self.claim(&xattr, claims)?;
            match meaning(&xattr) {
                Meaning::Metacopy | Meaning::Redirect => attributes.backing.note(&xattr),
                Meaning::Overlay => {}
                Meaning::Own(number, suffix) => {
                    let mark = WhiteoutMarks::of(&xattr);
                    attributes.marks = attributes.marks.with(mark);
                    let len = prefix(number).unwrap_or_default().len() + suffix.len();
                    if len > MAX_XATTR_NAME {
                        return Err(inode.error(Defect::XattrName(len), xattr.offset));
                    }
                    if !mark.has_any(dropped) {
                        let own = TreeXattr { name: (number, suffix), value: xattr.value, reference: xattr.reference };
                        self.own.push(own);
                    }
                }
            }
        }
        attributes.set = self.intern(inode, table)?;
        Ok(attributes)
    }

    /// The bytes of a shared attribute belong to it alone, however many refer to it.
    fn claim(&mut self, xattr: &RawXattr<'a>, claims: &mut UsedBytes) -> Result<(), ReadError> {
        match xattr.reference {
            Some(reference) if !self.shared.contains_key(&reference) => {
                self.shared.insert(reference, None);
                claims.take(xattr.offset, xattr.entry_len(), None)
            }
            _ => Ok(()),
        }
    }

    fn intern(&mut self, inode: &RawInode, table: &mut XattrTable) -> Result<SetId, ReadError> {
        let Self { shared, own, pairs } = self;
        if own.is_empty() {
            return Ok(SetId(0));
        }
        if own.len() > 1 {
            // Of two with one name the first counts, as for the kernel; the sort leaves them in order.
            own.sort_by_key(|own| own.name);
            own.dedup_by_key(|own| own.name);
        }
        let cost = |own: &TreeXattr<'_>| {
            xattr_cost(prefix(own.name.0).unwrap_or_default().len() + own.name.1.len(), own.value.len())
        };
        let total = XATTRS_BASE + own.iter().map(cost).sum::<usize>();
        if total > MAX_TOTAL {
            let error = XattrError::Total { total };
            return Err(inode.error(Defect::Tree(error.into()), inode.xattr_offset()));
        }
        if !table.has_room_for(own.len()) {
            return Err(inode.error(Defect::Tree(TreeError::TooManyInodes), inode.xattr_offset()));
        }
        pairs.clear();
        pairs.extend(own.iter().map(|own| {
            let known = own.reference.and_then(|reference| shared.get(&reference).copied().flatten());
            known.unwrap_or_else(|| {
                let (number, suffix) = own.name;
                let pair = table.intern_pair(&[prefix(number).unwrap_or_default(), suffix], own.value);
                own.reference.map(|reference| shared.insert(reference, Some(pair)));
                pair
            })
        }));
        Ok(table.intern_pairs(pairs))
    }
}

const _: () = assert!(OPAQUE_PARENT[0].len() == "trusted.overlay.opaque".len() + "overlay.".len());
