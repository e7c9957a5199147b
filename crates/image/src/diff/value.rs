//! The value of a field on one side of a change.

use std::borrow::Cow;

use super::change::EntryPosition;
use super::inodes::{PERMISSIONS, StoredContent, held};
use super::{Change, Diff, Field, Side};
use crate::digest::Digest;
use crate::tree::{Data, Kind, StoredData, StoredInode, Timestamp, Tree};

/// The value of a field on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue<'t> {
    /// The side has no such field: the target of what is no symlink, for one.
    None,
    /// The value of [`Field::Type`].
    Type(Kind),
    /// Of [`Field::Mode`]: the permission bits.
    Mode(u32),
    /// Of [`Field::Uid`], [`Field::Gid`], [`Field::Size`] and [`Field::Nlink`].
    Number(u64),
    /// The value of [`Field::Mtime`].
    Time(Timestamp),
    /// Of [`Field::Content`] and [`Field::Storage`].
    Content(FileContent<'t>),
    /// Of [`Field::Payload`] and [`Field::Target`].
    Path(Cow<'t, [u8]>),
    /// Of [`Field::Rdev`]: a number in the kernel's 32-bit encoding.
    Device(u32),
    /// Of [`Field::Xattrs`]: how many there are; [`Diff::xattrs`] has what differs.
    Xattrs(usize),
    /// Of [`Field::Links`]: how many names the inode has; [`Diff::names`] has them.
    Names(usize),
    /// Of [`Field::Place`]: whether this name is the inode's place.
    Place(bool),
}

/// The content of a regular file, as far as an image records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent<'t> {
    /// The file is empty.
    Empty,
    /// Bytes in the image.
    Inline(&'t [u8]),
    /// An object, and its digest if there is one.
    External(Option<Digest>),
}

impl<'t> Diff<'t> {
    /// Returns the value that a field has on one side of a change.
    #[must_use]
    pub fn value(&self, side: Side, change: &Change, field: Field) -> FieldValue<'t> {
        let tree = self.tree(side);
        let at = change.at(side);
        let Some(id) = at.inode(tree) else { return FieldValue::None };
        let stored = tree.stored(id);
        match field {
            Field::Type => FieldValue::Type(stored.kind()),
            Field::Mode => FieldValue::Mode((stored.mode & PERMISSIONS).into()),
            Field::Uid => FieldValue::Number(stored.uid.into()),
            Field::Gid => FieldValue::Number(stored.gid.into()),
            Field::Mtime => FieldValue::Time(stored.mtime()),
            Field::Nlink => FieldValue::Number(stored.nlink.into()),
            Field::Size => FieldValue::Number(stored.size),
            Field::Content | Field::Storage => content(tree, stored).map_or(FieldValue::None, FieldValue::Content),
            Field::Rdev => FieldValue::Device(stored.rdev),
            Field::Xattrs => FieldValue::Xattrs(tree.xattr_table().pairs_of(stored.xattrs).len()),
            Field::Payload | Field::Target => match (field, tree.inode(id).data()) {
                (Field::Payload, Data::Regular { payload: Some(path), .. }) => FieldValue::Path(path),
                (Field::Target, Data::Symlink(target)) => FieldValue::Path(Cow::Borrowed(target)),
                _ => FieldValue::None,
            },
            Field::Links => match at {
                EntryPosition::Entry(entry) => FieldValue::Names(self.entries(side, entry).len().max(1)),
                EntryPosition::Root | EntryPosition::Nowhere => FieldValue::Names(1),
            },
            Field::Place => FieldValue::Place(match at {
                EntryPosition::Entry(entry) => !tree.entry(entry).is_link,
                EntryPosition::Root | EntryPosition::Nowhere => true,
            }),
        }
    }
}

fn content<'t>(tree: &'t Tree, inode: &StoredInode) -> Option<FileContent<'t>> {
    let StoredData::Regular { content, payload, digest } = inode.data else { return None };
    Some(match held(tree, inode.size, content, payload, digest) {
        None => FileContent::Empty,
        Some(StoredContent::Inline(content)) => FileContent::Inline(content),
        Some(StoredContent::External { digest, .. }) => FileContent::External(digest.map(|digest| tree.digest(digest))),
    })
}
