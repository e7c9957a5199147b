//! The tree model: the names, metadata and content references of one file system tree.
//!
//! A tree is built once, by a [`TreeBuilder`], and read many times. Everything lies in a few large arrays, so a
//! tree of millions of entries costs little more than its names and digests, and nothing here recurses.
//!
//! An *inode* is a file, directory or other node with its metadata; an *entry* is a name in a directory. Every
//! inode has exactly one entry that is its place; other entries for the same inode are hard links.

mod arena;
mod builder;
mod depth_first;
mod editor;
mod error;
mod inodes;
mod merge;
mod objects;
mod ordered_builder;
mod overlay;
mod paths;
mod relabel;
mod xattrs;

use std::borrow::Cow;
use std::num::NonZeroU32;

pub use builder::TreeBuilder;
pub use depth_first::DepthFirst;
pub use editor::{ChangedXattr, InodeSelection, TreeEditor};
pub use error::TreeError;
pub use inodes::NewInode;
pub use merge::{LayerInode, LayerMark, Layers, MarkStyle, overlay_difference};
pub use objects::{NamedBy, NamedPayload, NeededObject};
pub use overlay::{OverlayError, OverlayLayer, overlay};
pub use paths::Places;
pub use relabel::RelabelError;
pub use xattrs::{MAX_XATTR_NAME, MAX_XATTR_VALUE, MAX_XATTRS_TOTAL, XATTRS_BASE, Xattr, XattrError, xattr_cost};

pub(crate) use arena::{ByteSpan, Interner};
pub(crate) use builder::{FoundName, FreeName, PendingLink};
pub(crate) use ordered_builder::{EntryId, OrderedBuilder};
pub(crate) use xattrs::{PairId, SetId, XattrTable};

use crate::digest::{Algorithm, Digest};
use arena::{ByteArena, FixedInterner};

/// Longest name of an entry, in bytes.
pub const MAX_NAME: usize = 255;
/// Longest symlink target and payload, in bytes (`PATH_MAX` less its NUL).
pub const MAX_PATH: usize = 4095;
/// Longest content kept in the image, in bytes.
pub const MAX_INLINE: usize = 5000;

/// The bits of a mode that tell the type of an inode (`S_IFMT`).
pub const MODE_TYPE: u16 = 0o170000;

/// Names an inode of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(pub(crate) u32);

impl InodeId {
    /// The root directory, which is always the first inode.
    pub const ROOT: InodeId = InodeId(0);

    /// A number from 0 to [`Tree::inode_count`] less one, for tables beside the tree.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The type of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file (`S_IFREG`).
    Regular,
    /// A directory (`S_IFDIR`).
    Directory,
    /// A symbolic link (`S_IFLNK`).
    Symlink,
    /// A character device; with device number 0, an overlayfs whiteout.
    CharDevice,
    /// A block device (`S_IFBLK`).
    BlockDevice,
    /// A named pipe (`S_IFIFO`).
    Fifo,
    /// A socket (`S_IFSOCK`).
    Socket,
}

impl Kind {
    /// The type that a mode's type bits tell.
    #[must_use]
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & MODE_TYPE as u32 {
            0o010000 => Kind::Fifo,
            0o020000 => Kind::CharDevice,
            0o040000 => Kind::Directory,
            0o060000 => Kind::BlockDevice,
            0o100000 => Kind::Regular,
            0o120000 => Kind::Symlink,
            0o140000 => Kind::Socket,
            _ => return None,
        })
    }

    /// The type bits of a mode.
    pub(crate) const fn mode_bits(self) -> u16 {
        match self {
            Kind::Fifo => 0o010000,
            Kind::CharDevice => 0o020000,
            Kind::Directory => 0o040000,
            Kind::BlockDevice => 0o060000,
            Kind::Regular => 0o100000,
            Kind::Symlink => 0o120000,
            Kind::Socket => 0o140000,
        }
    }
}

/// A point in time as seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds, negative before 1970.
    pub sec: i64,
    /// Nanoseconds; a dump may carry more than a second's worth.
    pub nsec: u32,
}

/// The content of an inode, beside its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// A directory: see [`Tree::children`].
    Directory,
    /// The target of a symbolic link.
    Symlink(&'a [u8]),
    /// A regular file with inline content, an object, or neither.
    Regular {
        /// The content, if it is kept in the image.
        content: Option<&'a [u8]>,
        /// The path of its object below the store; the usual `xx/yyyy…` is not stored but spelled on demand.
        payload: Option<Cow<'a, [u8]>>,
        /// The fs-verity digest of the content.
        digest: Option<Digest>,
    },
    /// A device, a FIFO or a socket.
    Special,
}

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The name: 1 to [`MAX_NAME`] bytes, none of them NUL or a slash.
    pub name: &'a [u8],
    /// The inode that the entry names.
    pub inode: InodeId,
    /// Set for a hard link to an inode whose place is elsewhere.
    pub is_link: bool,
}

/// The path of an external file's object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoredPayload {
    None,
    /// The object path of this digest (an index of the digest table; not always the file's own digest).
    Object(u32),
    /// Any other path.
    Path(u32),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum StoredData {
    Directory {
        start: u32,
        len: u32,
        parent: InodeId,
    },
    Symlink(ByteSpan),
    /// An empty span is no content.
    Regular {
        content: ByteSpan,
        payload: StoredPayload,
        digest: Option<NonZeroU32>,
    },
    Special,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredInode {
    pub(crate) size: u64,
    pub(crate) mtime_sec: i64,
    pub(crate) mtime_nsec: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) nlink: u32,
    pub(crate) rdev: u32,
    pub(crate) xattrs: SetId,
    pub(crate) mode: u16,
    pub(crate) data: StoredData,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredEntry {
    name: ByteSpan,
    parent: InodeId,
    /// The inode, with [`LINK_BIT`] on the entries that are hard links.
    inode: u32,
}

const LINK_BIT: u32 = 1 << 31;
/// The target of a link that is not known yet. No inode has this number: the tables end well below.
const UNRESOLVED: u32 = u32::MAX;

impl StoredEntry {
    fn id(&self) -> InodeId {
        InodeId(self.inode & !LINK_BIT)
    }

    fn is_link(&self) -> bool {
        self.inode & LINK_BIT != 0
    }
}

/// One file system tree.
#[derive(Clone, Debug)]
pub struct Tree {
    algorithm: Algorithm,
    /// Names, symlink targets and inline contents.
    bytes: ByteArena,
    /// Grouped by directory, in name order.
    entries: Vec<StoredEntry>,
    inodes: Vec<StoredInode>,
    xattrs: XattrTable,
    digests: FixedInterner,
    payloads: Interner,
}

impl Tree {
    /// The algorithm of every digest in the tree.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the number of inodes, including the root.
    #[must_use]
    pub fn inode_count(&self) -> usize {
        self.inodes.len()
    }

    /// Returns the number of entries of all directories together.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// An inode of this tree.
    #[must_use]
    pub fn inode(&self, id: InodeId) -> Inode<'_> {
        Inode { tree: self, id, stored: &self.inodes[id.index()] }
    }

    /// All inodes, the root first.
    pub fn inodes(&self) -> impl ExactSizeIterator<Item = Inode<'_>> {
        (0..self.inodes.len() as u32).map(|id| self.inode(InodeId(id)))
    }

    /// The entries of a directory in byte order of their names; none for anything else.
    pub fn children(&self, directory: InodeId) -> impl ExactSizeIterator<Item = Entry<'_>> + Clone {
        let range = self.entries_of(directory);
        self.entries[range.start as usize..range.end as usize].iter().map(|e| self.view(e))
    }

    /// The entry of this name in a directory.
    #[must_use]
    pub fn child(&self, directory: InodeId, name: &[u8]) -> Option<Entry<'_>> {
        self.find_entry(directory, name).map(|entry| self.entry(entry))
    }

    /// The number of the entry of this name in a directory.
    pub(crate) fn find_entry(&self, directory: InodeId, name: &[u8]) -> Option<EntryId> {
        let range = self.entries_of(directory);
        let entries = &self.entries[range.start as usize..range.end as usize];
        let found = entries.binary_search_by(|e| self.bytes.get(e.name).cmp(name)).ok()?;
        Some(EntryId(range.start + found as u32))
    }

    /// The directory that a directory lies in; the root's is the root.
    ///
    /// # Panics
    ///
    /// If the inode is no directory: it could have several.
    #[must_use]
    pub fn parent(&self, directory: InodeId) -> InodeId {
        match self.inodes[directory.index()].data {
            StoredData::Directory { parent, .. } => parent,
            _ => panic!("only a directory has one parent"),
        }
    }

    /// Returns `true` if a file or a path of an object has a digest; otherwise the algorithm of the tree means nothing.
    #[must_use]
    pub fn has_digests(&self) -> bool {
        self.digests.len() > 0
    }

    /// Returns `true` if an inode has more than one name.
    #[must_use]
    pub fn has_links(&self) -> bool {
        self.entries.iter().any(StoredEntry::is_link)
    }

    /// Returns `true` if a character device has the device number 0: the whiteout of an overlay layer.
    #[must_use]
    pub fn has_whiteout(&self) -> bool {
        self.inodes.iter().any(StoredInode::is_whiteout)
    }

    /// The numbers of a directory's entries.
    pub(crate) fn entries_of(&self, directory: InodeId) -> std::ops::Range<u32> {
        match self.inodes[directory.index()].data {
            StoredData::Directory { start, len, .. } => start..start + len,
            _ => 0..0,
        }
    }

    fn view(&self, entry: &StoredEntry) -> Entry<'_> {
        Entry { name: self.bytes.get(entry.name), inode: entry.id(), is_link: entry.is_link() }
    }

    /// An entry by its number.
    pub(crate) fn entry(&self, entry: EntryId) -> Entry<'_> {
        self.view(&self.entries[entry.0 as usize])
    }

    /// Returns the inode that an entry names, whether it is a hard link or not.
    pub(crate) fn target(&self, entry: EntryId) -> InodeId {
        self.entries[entry.0 as usize].id()
    }

    /// The directory of an entry.
    pub(crate) fn directory_of(&self, entry: EntryId) -> InodeId {
        self.entries[entry.0 as usize].parent
    }

    pub(crate) fn stored(&self, id: InodeId) -> &StoredInode {
        &self.inodes[id.index()]
    }

    pub(crate) fn span(&self, span: ByteSpan) -> &[u8] {
        self.bytes.get(span)
    }

    pub(crate) fn xattr_table(&self) -> &XattrTable {
        &self.xattrs
    }

    pub(crate) fn digest_count(&self) -> usize {
        self.digests.len()
    }

    pub(crate) fn payload_count(&self) -> usize {
        self.payloads.len()
    }

    pub(crate) fn raw_digest(&self, index: u32) -> &[u8] {
        self.digests.get(index)
    }

    pub(crate) fn digest(&self, index: u32) -> Digest {
        Digest::new(self.algorithm, self.digests.get(index)).expect("the table holds digests of one length")
    }

    pub(crate) fn payload_path(&self, index: u32) -> &[u8] {
        self.payloads.get(index)
    }
}

impl StoredInode {
    pub(crate) fn kind(&self) -> Kind {
        Kind::from_mode(u32::from(self.mode)).expect("the builder checked the type")
    }

    pub(crate) fn mtime(&self) -> Timestamp {
        Timestamp { sec: self.mtime_sec, nsec: self.mtime_nsec }
    }

    pub(crate) fn is_whiteout(&self) -> bool {
        self.kind() == Kind::CharDevice && self.rdev == 0
    }

    /// The digest, if set, as an index of the tree's digests.
    pub(crate) fn digest_index(digest: Option<NonZeroU32>) -> Option<u32> {
        digest.map(|d| d.get() - 1)
    }
}

/// A view of one inode.
#[derive(Clone, Copy, Debug)]
pub struct Inode<'a> {
    tree: &'a Tree,
    id: InodeId,
    stored: &'a StoredInode,
}

impl<'a> Inode<'a> {
    /// The number of this inode in its tree.
    #[must_use]
    pub fn id(&self) -> InodeId {
        self.id
    }

    /// Returns the file type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.stored.kind()
    }

    /// Type and permission bits, as in `st_mode`.
    #[must_use]
    pub fn mode(&self) -> u32 {
        u32::from(self.stored.mode)
    }

    /// The size in bytes; for directories and special files whatever the source said.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.stored.size
    }

    /// Returns the user ID of the owner.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.stored.uid
    }

    /// Returns the group ID of the owner.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.stored.gid
    }

    /// Link count as the source said it; for directories it is computed when an image is written.
    #[must_use]
    pub fn nlink(&self) -> u32 {
        self.stored.nlink
    }

    /// Device number in the kernel's 32-bit encoding; 0 for anything but a device.
    #[must_use]
    pub fn rdev(&self) -> u32 {
        self.stored.rdev
    }

    /// Time of last modification.
    #[must_use]
    pub fn mtime(&self) -> Timestamp {
        self.stored.mtime()
    }

    /// The extended attributes in byte order of their names.
    pub fn xattrs(&self) -> impl ExactSizeIterator<Item = Xattr<'a>> + use<'a> {
        self.tree.xattrs.iter(self.stored.xattrs)
    }

    /// The value of the attribute whose name consists of these parts.
    pub(crate) fn xattr(&self, name: &[&[u8]]) -> Option<&'a [u8]> {
        let xattrs = &self.tree.xattrs;
        let order = |x: &Xattr<'_>| x.name.iter().cmp(name.iter().copied().flatten());
        let pairs = xattrs.pairs_of(self.stored.xattrs);
        let index = pairs.binary_search_by(|&pair| order(&xattrs.pair(pair))).ok()?;
        Some(xattrs.pair(pairs[index]).value)
    }

    /// Returns the content of the inode.
    #[must_use]
    pub fn data(&self) -> Data<'a> {
        match self.stored.data {
            StoredData::Directory { .. } => Data::Directory,
            StoredData::Symlink(target) => Data::Symlink(self.tree.bytes.get(target)),
            StoredData::Regular { content, payload, digest } => Data::Regular {
                content: (content.len() > 0).then(|| self.tree.bytes.get(content)),
                payload: self.tree.spelled_payload(payload),
                digest: StoredInode::digest_index(digest).map(|i| self.tree.digest(i)),
            },
            StoredData::Special => Data::Special,
        }
    }
}
