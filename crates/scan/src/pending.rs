//! Inodes that a thread has found but not yet added to the tree.
//!
//! Names and bytes are stored end to end in reused buffers, so nothing is allocated per file; small contents are
//! hashed together, and the tree is locked once for many inodes.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;

use libcomposefs_content::mutex::lock;
use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_image::tree::{InodeId, NewInode, Timestamp, TreeBuilder, Xattr};

use crate::directory::{DirectoryRef, DirectoryUse};
use crate::error::Error;
use crate::hardlinks::HardLinks;
use crate::small_files::SmallFiles;
use crate::stat::{InodeKey, InodeStat};
use libcomposefs_content::ContentSink;

/// A range of bytes in the buffer of the pending inodes.
pub(crate) type BufferRange = Range<usize>;

/// An entry to be added to the tree.
#[derive(Debug)]
struct PendingEntry {
    /// Index of its directory in `directories`.
    directory: usize,
    found: FoundEntry,
}

/// An entry with its metadata.
#[derive(Debug)]
pub(crate) struct FoundEntry {
    pub(crate) name: BufferRange,
    pub(crate) meta: InodeStat,
    pub(crate) mtime: Timestamp,
    pub(crate) data: FoundData,
    /// Range of its attributes in `PendingInodes::xattrs`.
    pub(crate) xattrs: Range<usize>,
    /// Set if other names may link to the inode.
    pub(crate) link_key: Option<InodeKey>,
}

/// The content, target or type of the entry.
#[derive(Debug)]
pub(crate) enum FoundData {
    /// A regular file whose content is kept in the tree, or an empty one without content. With `small` the content is
    /// hashed too.
    Inline {
        content: Option<BufferRange>,
        small: Option<usize>,
    },
    /// A regular file whose content is an object.
    Object(Digest),
    /// Like `Object`, with the number of its content among the small files that are not hashed yet.
    Small(usize),
    Symlink(BufferRange),
    Special,
}

#[derive(Debug, Default)]
pub(crate) struct PendingInodes {
    pub(crate) bytes: Vec<u8>,
    /// Names and values of all attributes.
    pub(crate) xattrs: Vec<(BufferRange, BufferRange)>,
    pub(crate) contents: SmallFiles,
    /// The directories of the entries.
    directories: Vec<DirectoryRef>,
    items: Vec<PendingEntry>,
}

/// Upper bound of buffered bytes before the inodes are added to the tree.
const ENOUGH: usize = 1 << 20;
/// Upper bound of buffered entries.
const ITEMS_ENOUGH: usize = 2048;

impl PendingInodes {
    /// Copies bytes into the buffer.
    pub(crate) fn keep(&mut self, bytes: &[u8]) -> BufferRange {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    pub(crate) fn add(&mut self, directory: &DirectoryUse, found: FoundEntry) {
        if self.directories.last().is_none_or(|last| last.id() != directory.id()) {
            self.directories.push(directory.to_ref());
        }
        self.items.push(PendingEntry { directory: self.directories.len() - 1, found });
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() > ENOUGH || self.items.len() >= ITEMS_ENOUGH || self.contents.is_full()
    }

    /// Clears all buffers for reuse.
    fn clear(&mut self) {
        self.bytes.clear();
        self.xattrs.clear();
        self.contents.clear();
        self.directories.clear();
        self.items.clear();
    }

    /// Returns the attributes in a range of `xattrs`.
    pub(crate) fn xattrs<'a>(&'a self, range: Range<usize>, out: &mut Vec<Xattr<'a>>) {
        out.clear();
        out.extend(
            self.xattrs[range]
                .iter()
                .map(|(name, value)| Xattr { name: &self.bytes[name.clone()], value: &self.bytes[value.clone()] }),
        );
    }

    /// Hashes the small contents, passes them to the sink, adds all inodes to the tree and clears the buffers.
    pub(crate) fn flush(
        &mut self,
        algorithm: Algorithm,
        sink: &dyn ContentSink,
        builder: &Mutex<TreeBuilder>,
        links: Option<&Mutex<HardLinks>>,
    ) -> Result<(), Error> {
        let digests = self.contents.digests(algorithm);
        let added = self.sink_small(sink, &digests).and_then(|()| {
            let mut links = links.map(lock);
            self.add_items(&digests, &mut lock(builder), links.as_deref_mut())
        });
        self.clear();
        added
    }

    fn path_of(&self, item: &PendingEntry) -> PathBuf {
        self.directories[item.directory].path_of(&self.bytes[item.found.name.clone()])
    }

    /// Passes the objects among the small contents to the sink.
    fn sink_small(&self, sink: &dyn ContentSink, digests: &[Digest]) -> Result<(), Error> {
        let mut contents = self.contents.iter().zip(digests).enumerate();
        for item in &self.items {
            let FoundData::Small(small) = item.found.data else { continue };
            let (_, (content, digest)) =
                contents.find(|(number, _)| *number == small).expect("items stand in the order of their contents");
            sink.take_small(content, digest).map_err(|source| Error::Sink { path: self.path_of(item), source })?;
        }
        Ok(())
    }

    fn add_items(
        &self,
        digests: &[Digest],
        builder: &mut TreeBuilder,
        mut links: Option<&mut HardLinks>,
    ) -> Result<(), Error> {
        let mut xattrs = Vec::new();
        for item in &self.items {
            self.xattrs(item.found.xattrs.clone(), &mut xattrs);
            let parent = self.directories[item.directory].id();
            let id = self
                .add_item(parent, builder, &item.found, digests, &xattrs)
                .map_err(|error| Error::from_tree(error, || self.path_of(item)))?;
            if let (Some(key), Some(links)) = (item.found.link_key, links.as_deref_mut()) {
                links.set(key, id);
            }
        }
        Ok(())
    }

    fn add_item(
        &self,
        parent: InodeId,
        builder: &mut TreeBuilder,
        found: &FoundEntry,
        digests: &[Digest],
        xattrs: &[Xattr<'_>],
    ) -> Result<InodeId, libcomposefs_image::tree::TreeError> {
        let mut inode = NewInode { nlink: 1, xattrs, ..found.meta.inode(found.mtime) };
        let object = match &found.data {
            FoundData::Inline { content, small } => {
                inode.content = content.clone().map(|span| &self.bytes[span]);
                inode.digest = small.map(|number| digests[number]);
                None
            }
            FoundData::Object(digest) => Some(*digest),
            FoundData::Small(number) => Some(digests[*number]),
            FoundData::Symlink(target) => {
                inode.payload = Some(&self.bytes[target.clone()]);
                None
            }
            FoundData::Special => {
                inode.size = 0;
                None
            }
        };
        if object.is_some() {
            (inode.digest, inode.is_object) = (object, true);
        }
        builder.add(parent, &self.bytes[found.name.clone()], &inode)
    }
}
