//! The value of a field on one side of a change.

use std::borrow::Cow;

use super::change::At;
use super::inodes::{Held, PERMISSIONS, held};
use super::{Change, Diff, Field, Side};
use crate::digest::Digest;
use crate::tree::{Data, Kind, StoredData, StoredInode, Timestamp, Tree};

/// The value of a field on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'t> {
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
    Content(Content<'t>),
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
pub enum Content<'t> {
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
    pub fn value(&self, side: Side, change: &Change, field: Field) -> Value<'t> {
        let tree = self.tree(side);
        let at = change.at(side);
        let Some(id) = at.inode(tree) else { return Value::None };
        let stored = tree.stored(id);
        match field {
            Field::Type => Value::Type(stored.kind()),
            Field::Mode => Value::Mode((stored.mode & PERMISSIONS).into()),
            Field::Uid => Value::Number(stored.uid.into()),
            Field::Gid => Value::Number(stored.gid.into()),
            Field::Mtime => Value::Time(stored.mtime()),
            Field::Nlink => Value::Number(stored.nlink.into()),
            Field::Size => Value::Number(stored.size),
            Field::Content | Field::Storage => content(tree, stored).map_or(Value::None, Value::Content),
            Field::Rdev => Value::Device(stored.rdev),
            Field::Xattrs => Value::Xattrs(tree.xattr_table().pairs_of(stored.xattrs).len()),
            Field::Payload | Field::Target => match (field, tree.inode(id).data()) {
                (Field::Payload, Data::Regular { payload: Some(path), .. }) => Value::Path(path),
                (Field::Target, Data::Symlink(target)) => Value::Path(Cow::Borrowed(target)),
                _ => Value::None,
            },
            Field::Links => match at {
                At::Entry(entry) => Value::Names(self.entries(side, entry).len().max(1)),
                At::Root | At::Nowhere => Value::Names(1),
            },
            Field::Place => Value::Place(match at {
                At::Entry(entry) => !tree.entry(entry).is_link,
                At::Root | At::Nowhere => true,
            }),
        }
    }
}

fn content<'t>(tree: &'t Tree, inode: &StoredInode) -> Option<Content<'t>> {
    let StoredData::Regular { content, payload, digest } = inode.data else { return None };
    Some(match held(tree, inode.size, content, payload, digest) {
        None => Content::Empty,
        Some(Held::Inline(content)) => Content::Inline(content),
        Some(Held::External { digest, .. }) => Content::External(digest.map(|digest| tree.digest(digest))),
    })
}
