//! What a thread has found in one directory and not yet added to the tree.
//!
//! The names and bytes lie end to end in buffers that are used again, so nothing is allocated per file, and the tree is
//! locked once for many.

use std::ops::Range;

use composefs_image::digest::Digest;
use composefs_image::tree::{InodeId, NewInode, Timestamp, TreeBuilder, Xattr};

use crate::directory::DirectoryUse;
use crate::error::Error;
use crate::links::{Key, Links};
use crate::meta::Meta;

/// Bytes in the harvest's buffer.
pub(crate) type Span = Range<usize>;

/// An entry to be added.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) name: Span,
    pub(crate) meta: Meta,
    pub(crate) mtime: Timestamp,
    pub(crate) data: Data,
    /// In `xattrs`.
    pub(crate) xattrs: Range<usize>,
    /// Set if other names may link to it.
    pub(crate) link_key: Option<Key>,
}

/// What the entry holds.
#[derive(Debug)]
pub(crate) enum Data {
    /// A regular file whose content is kept in the tree; or an empty one, with none.
    Inline {
        content: Option<Span>,
        digest: Option<Digest>,
    },
    /// A regular file whose content is an object.
    Object(Digest),
    Symlink(Span),
    Special,
}

#[derive(Debug, Default)]
pub(crate) struct Harvest {
    pub(crate) bytes: Vec<u8>,
    /// Names and values.
    pub(crate) xattrs: Vec<(Span, Span)>,
    items: Vec<Item>,
}

/// More than so many bytes are not gathered before they go to the tree.
const ENOUGH: usize = 1 << 20;

impl Harvest {
    /// Copies bytes into the buffer.
    pub(crate) fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    pub(crate) fn add(&mut self, item: Item) {
        self.items.push(item);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() > ENOUGH
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets what was kept for a directory itself, which is not an item.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.xattrs.clear();
        self.items.clear();
    }

    /// The attributes of a range of `xattrs`.
    pub(crate) fn xattrs<'a>(&'a self, range: Range<usize>, out: &mut Vec<Xattr<'a>>) {
        out.clear();
        out.extend(
            self.xattrs[range]
                .iter()
                .map(|(name, value)| Xattr { name: &self.bytes[name.clone()], value: &self.bytes[value.clone()] }),
        );
    }

    /// Adds everything to the tree and is empty again.
    pub(crate) fn flush(
        &mut self,
        directory: &DirectoryUse,
        builder: &mut TreeBuilder,
        links: Option<&mut Links>,
    ) -> Result<(), Error> {
        let added = self.add_items(directory, builder, links);
        self.clear();
        added
    }

    fn add_items(
        &self,
        directory: &DirectoryUse,
        builder: &mut TreeBuilder,
        mut links: Option<&mut Links>,
    ) -> Result<(), Error> {
        let mut xattrs = Vec::new();
        for item in &self.items {
            self.xattrs(item.xattrs.clone(), &mut xattrs);
            let id = self
                .add_item(directory.id(), builder, item, &xattrs)
                .map_err(|error| Error::from_tree(error, || directory.path_of(&self.bytes[item.name.clone()])))?;
            if let (Some(key), Some(links)) = (item.link_key, links.as_deref_mut()) {
                links.set(key, id);
            }
        }
        Ok(())
    }

    fn add_item(
        &self,
        parent: InodeId,
        builder: &mut TreeBuilder,
        item: &Item,
        xattrs: &[Xattr<'_>],
    ) -> Result<InodeId, composefs_image::tree::TreeError> {
        let mut inode = NewInode { nlink: 1, xattrs, ..item.meta.inode(item.mtime) };
        let path;
        match &item.data {
            Data::Inline { content, digest } => {
                inode.content = content.clone().map(|span| &self.bytes[span]);
                inode.digest = *digest;
            }
            Data::Object(digest) => {
                path = digest.object_path();
                inode.payload = Some(path.as_bytes());
                inode.digest = Some(*digest);
            }
            Data::Symlink(target) => inode.payload = Some(&self.bytes[target.clone()]),
            Data::Special => inode.size = 0,
        }
        builder.add(parent, &self.bytes[item.name.clone()], &inode)
    }
}
