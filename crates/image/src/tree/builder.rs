//! Building a [`Tree`] entry by entry, in any order in which a directory comes before what it holds.

use std::hash::BuildHasher;
use std::num::NonZeroU32;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::bytes::{Bytes, FixedInterner, Interner};
use super::xattrs::{Xattr, XattrError, Xattrs};
use super::{
    InodeId, Kind, LINK_BIT, MAX_INLINE, MAX_NAME, MAX_PATH, Payload, Span, StoredData, StoredEntry, StoredInode,
    Timestamp, Tree,
};
use crate::digest::{Algorithm, Digest};

/// An inode to be added to a tree.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewInode<'a> {
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// Size in bytes. For a symlink the length of its target is taken instead.
    pub size: u64,
    /// Link count; ignored for directories.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number, used for devices only.
    pub rdev: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// A symlink's target, or the path of a regular file's object below the store.
    pub payload: Option<&'a [u8]>,
    /// Whether a regular file without a payload has the path of its digest's object for one, which then need not be spelled.
    pub is_object: bool,
    /// A regular file's content, if the image is to hold it. Its length must be `size`.
    pub content: Option<&'a [u8]>,
    /// A regular file's fs-verity digest, of the tree's algorithm.
    pub digest: Option<Digest>,
    /// Extended attributes in any order; of a repeated name the last one counts.
    pub xattrs: &'a [Xattr<'a>],
}

/// Why an inode or entry is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The type bits of the mode mean nothing.
    #[error("mode {0:o} has no valid file type")]
    Mode(u32),
    /// The parent is not a directory.
    #[error("the parent is not a directory")]
    ParentNotDirectory,
    /// The name is empty, `.`, `..`, too long, or holds a slash or NUL.
    #[error("invalid name {0:?}: 1 to {MAX_NAME} bytes without slash and NUL, not . or ..")]
    Name(String),
    /// The directory has such an entry already.
    #[error("the directory has an entry {0:?} already")]
    Duplicate(String),
    /// A symlink's target is missing, empty or too long.
    #[error("symlink target of {0} bytes: 1 to {MAX_PATH} are allowed")]
    SymlinkTarget(usize),
    /// A payload is too long.
    #[error("payload of {0} bytes: at most {MAX_PATH} are allowed")]
    Payload(usize),
    /// The content has another length than the size says.
    #[error("content of {content} bytes for a size of {size}")]
    ContentSize {
        /// Length of the content.
        content: usize,
        /// The size given.
        size: u64,
    },
    /// The content is too long to stand in the image.
    #[error("content of {0} bytes: at most {MAX_INLINE} can be kept in the image")]
    ContentTooLong(usize),
    /// The digest is of another algorithm than the tree's.
    #[error("a {found} digest in a tree of {expected} digests")]
    DigestAlgorithm {
        /// The digest's.
        found: Algorithm,
        /// The tree's.
        expected: Algorithm,
    },
    /// The xattrs break a limit.
    #[error(transparent)]
    Xattr(#[from] XattrError),
    /// A hard link to a directory.
    #[error("a hard link cannot name a directory")]
    LinkToDirectory,
    /// More than two billion inodes or entries.
    #[error("the tree has too many inodes")]
    TooManyInodes,
}

/// An entry whose inode is not known yet: a hard link read before its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PendingLink(u32);

/// A name that can be added to a directory, as long as nothing else is added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    parent: InodeId,
    hash: u64,
}

/// What a name of an unfinished tree stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Inode(InodeId),
    Link(PendingLink),
}

/// No inode has this number: the tables end well below.
const UNRESOLVED: u32 = u32::MAX;

/// Builds a [`Tree`].
#[derive(Debug)]
pub struct TreeBuilder {
    tree: Tree,
    /// Entries by parent and name.
    names: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl TreeBuilder {
    /// A tree of only a root directory.
    pub fn new(algorithm: Algorithm, root: &NewInode<'_>) -> Result<Self, TreeError> {
        let tree = Tree {
            algorithm,
            bytes: Bytes::default(),
            entries: Vec::new(),
            inodes: Vec::new(),
            xattrs: Xattrs::default(),
            digests: FixedInterner::new(algorithm.digest_len()),
            payloads: Interner::default(),
        };
        let mut builder = Self { tree, names: HashTable::new(), hasher: DefaultHashBuilder::default() };
        if Kind::from_mode(root.mode) != Some(Kind::Directory) {
            return Err(TreeError::ParentNotDirectory);
        }
        builder.push_inode(root)?;
        Ok(builder)
    }

    /// Adds an inode under a name of an existing directory.
    pub fn add(&mut self, parent: InodeId, name: &[u8], inode: &NewInode<'_>) -> Result<InodeId, TreeError> {
        let claim = self.claim(parent, name)?;
        self.add_claimed(claim, name, inode)
    }

    /// Adds an inode under a name that was [claimed](Self::claim).
    pub(crate) fn add_claimed(
        &mut self,
        claim: Claim,
        name: &[u8],
        inode: &NewInode<'_>,
    ) -> Result<InodeId, TreeError> {
        let id = self.push_inode(inode)?;
        self.push_entry(claim, name, id.0)?;
        Ok(id)
    }

    /// Adds a hard link: a further name for an inode that is no directory.
    pub fn add_link(&mut self, parent: InodeId, name: &[u8], target: InodeId) -> Result<(), TreeError> {
        if matches!(self.tree.stored(target).data, StoredData::Directory { .. }) {
            return Err(TreeError::LinkToDirectory);
        }
        let claim = self.claim(parent, name)?;
        self.push_entry(claim, name, target.0 | LINK_BIT)?;
        Ok(())
    }

    /// Adds a hard link whose target comes later; [`resolve_link`](Self::resolve_link) must follow.
    pub(crate) fn add_pending_link(&mut self, claim: Claim, name: &[u8]) -> Result<PendingLink, TreeError> {
        self.push_entry(claim, name, UNRESOLVED)
    }

    pub(crate) fn resolve_link(&mut self, link: PendingLink, target: InodeId) -> Result<(), TreeError> {
        if matches!(self.tree.stored(target).data, StoredData::Directory { .. }) {
            return Err(TreeError::LinkToDirectory);
        }
        self.tree.entries[link.0 as usize].inode = target.0 | LINK_BIT;
        Ok(())
    }

    /// What stands under a name of a directory.
    pub(crate) fn find(&self, parent: InodeId, name: &[u8]) -> Option<Found> {
        self.find_hashed(parent, name, self.hasher.hash_one((parent.0, name)))
    }

    fn find_hashed(&self, parent: InodeId, name: &[u8], hash: u64) -> Option<Found> {
        let index = *self.names.find(hash, |&e| {
            let entry = &self.tree.entries[e as usize];
            entry.parent == parent && self.tree.bytes.get(entry.name) == name
        })?;
        let entry = &self.tree.entries[index as usize];
        Some(if entry.inode == UNRESOLVED { Found::Link(PendingLink(index)) } else { Found::Inode(entry.id()) })
    }

    pub(crate) fn is_directory(&self, id: InodeId) -> bool {
        matches!(self.tree.stored(id).data, StoredData::Directory { .. })
    }

    /// Finds out whether a name can be added to a directory.
    pub(crate) fn claim(&self, parent: InodeId, name: &[u8]) -> Result<Claim, TreeError> {
        if !self.is_directory(parent) {
            return Err(TreeError::ParentNotDirectory);
        }
        let lossy = || String::from_utf8_lossy(name).into_owned();
        if name.is_empty() || name.len() > MAX_NAME || name == b"." || name == b".." {
            return Err(TreeError::Name(lossy()));
        }
        if name.iter().any(|b| matches!(b, 0 | b'/')) {
            return Err(TreeError::Name(lossy()));
        }
        let hash = self.hasher.hash_one((parent.0, name));
        match self.find_hashed(parent, name, hash) {
            Some(_) => Err(TreeError::Duplicate(lossy())),
            None => Ok(Claim { parent, hash }),
        }
    }

    fn push_entry(&mut self, claim: Claim, name: &[u8], inode: u32) -> Result<PendingLink, TreeError> {
        let Self { tree, names, hasher } = self;
        let Claim { parent, hash } = claim;
        let index = u32::try_from(tree.entries.len()).map_err(|_| TreeError::TooManyInodes)?;
        let (entries, bytes) = (&tree.entries, &tree.bytes);
        names.insert_unique(hash, index, |&e| {
            let entry = &entries[e as usize];
            hasher.hash_one((entry.parent.0, bytes.get(entry.name)))
        });
        let name = tree.bytes.push(name);
        tree.entries.push(StoredEntry { name, parent, inode });
        if let StoredData::Directory { len, .. } = &mut tree.inodes[parent.index()].data {
            *len += 1;
        }
        Ok(PendingLink(index))
    }

    fn push_inode(&mut self, new: &NewInode<'_>) -> Result<InodeId, TreeError> {
        let kind = Kind::from_mode(new.mode).ok_or(TreeError::Mode(new.mode))?;
        let id = u32::try_from(self.tree.inodes.len()).ok().filter(|id| *id < LINK_BIT - 1);
        let id = InodeId(id.ok_or(TreeError::TooManyInodes)?);
        let xattrs = self.tree.xattrs.intern(new.xattrs)?;
        let (size, data) = self.store_data(kind, new)?;
        let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        self.tree.inodes.push(StoredInode {
            size,
            mtime_sec: new.mtime.sec,
            mtime_nsec: new.mtime.nsec,
            uid: new.uid,
            gid: new.gid,
            nlink: new.nlink,
            rdev: if is_device { new.rdev } else { 0 },
            xattrs,
            mode: (new.mode & 0xffff) as u16,
            data,
        });
        Ok(id)
    }

    fn store_data(&mut self, kind: Kind, new: &NewInode<'_>) -> Result<(u64, StoredData), TreeError> {
        let payload_len = new.payload.map_or(0, <[u8]>::len);
        if kind == Kind::Symlink {
            let target = new.payload.filter(|t| (1..=MAX_PATH).contains(&t.len()));
            let target = target.ok_or(TreeError::SymlinkTarget(payload_len))?;
            return Ok((target.len() as u64, StoredData::Symlink(self.tree.bytes.push(target))));
        }
        if payload_len > MAX_PATH {
            return Err(TreeError::Payload(payload_len));
        }
        match kind {
            Kind::Directory => Ok((new.size, StoredData::Directory { start: 0, len: 0, parent: InodeId::ROOT })),
            Kind::Regular => {
                let content = match new.content {
                    Some(content) if content.len() as u64 != new.size => {
                        return Err(TreeError::ContentSize { content: content.len(), size: new.size });
                    }
                    Some(content) if content.len() > MAX_INLINE => {
                        return Err(TreeError::ContentTooLong(content.len()));
                    }
                    content => content.map_or(Span::default(), |content| self.tree.bytes.push(content)),
                };
                let digest = new.digest.map(|digest| self.store_digest(digest)).transpose()?;
                let payload = new.payload.filter(|p| !p.is_empty());
                let payload = match (payload, new.digest, digest) {
                    (None, _, Some(index)) if new.is_object => Payload::Object(index.get() - 1),
                    (None, ..) => Payload::None,
                    // Nearly always; no need to read the digest from it.
                    (Some(path), Some(own), Some(index)) if own.has_object_path(path) => {
                        Payload::Object(index.get() - 1)
                    }
                    (Some(path), ..) => self.store_payload(path),
                };
                Ok((new.size, StoredData::Regular { content, payload, digest }))
            }
            _ => Ok((new.size, StoredData::Special)),
        }
    }

    fn store_digest(&mut self, digest: Digest) -> Result<NonZeroU32, TreeError> {
        if digest.algorithm() != self.tree.algorithm {
            return Err(TreeError::DigestAlgorithm { found: digest.algorithm(), expected: self.tree.algorithm });
        }
        let index = self.tree.digests.intern(digest.as_bytes());
        Ok(NonZeroU32::MIN.saturating_add(index))
    }

    /// Payloads that spell an object path are kept as the digest they spell, whosever it is, so that equal
    /// payloads are equal here whatever way they came in.
    fn store_payload(&mut self, payload: &[u8]) -> Payload {
        match Digest::from_object_path(payload) {
            Some(digest) if digest.algorithm() == self.tree.algorithm => {
                Payload::Object(self.tree.digests.intern(digest.as_bytes()))
            }
            _ => Payload::Path(self.tree.payloads.intern(payload)),
        }
    }

    /// Makes the first path of every inode, depth first in name order, its place, every other path a link, and
    /// sets each link count to the number of paths. What a scan of hard links found in any order comes out the
    /// same.
    #[must_use]
    pub fn finish_with_counted_links(self) -> Tree {
        let mut tree = self.finish();
        let mut paths = vec![0u32; tree.inodes.len()];
        // Directories yet to be walked, the next one on top.
        let mut stack = vec![InodeId::ROOT];
        let mut cursor: Vec<u32> = vec![0];
        while let (Some(&directory), Some(next)) = (stack.last(), cursor.last_mut()) {
            let StoredData::Directory { start, len, .. } = tree.inodes[directory.index()].data else { unreachable!() };
            if *next == len {
                stack.pop();
                cursor.pop();
                continue;
            }
            let entry = &mut tree.entries[(start + *next) as usize];
            *next += 1;
            let id = entry.id();
            entry.inode = if paths[id.index()] == 0 { id.0 } else { id.0 | LINK_BIT };
            paths[id.index()] += 1;
            if matches!(tree.inodes[id.index()].data, StoredData::Directory { .. }) {
                stack.push(id);
                cursor.push(0);
            }
        }
        for (inode, count) in tree.inodes.iter_mut().zip(paths) {
            if !matches!(inode.data, StoredData::Directory { .. }) {
                inode.nlink = count;
            }
        }
        tree
    }

    /// The tree, with the entries of every directory in order.
    ///
    /// # Panics
    ///
    /// If a pending link was not resolved.
    #[must_use]
    pub fn finish(self) -> Tree {
        let Self { mut tree, names, .. } = self;
        drop(names);
        tree.digests.freeze();
        tree.payloads.freeze();
        tree.xattrs.sort();
        group_entries(&mut tree);
        tree
    }
}

/// Groups the entries by directory (a counting sort), then orders each group by name.
fn group_entries(tree: &mut Tree) {
    assert!(tree.entries.iter().all(|e| e.inode != UNRESOLVED), "a link was left unresolved");
    let mut start = 0;
    for inode in &mut tree.inodes {
        if let StoredData::Directory { start: first, len, .. } = &mut inode.data {
            *first = start;
            start += *len;
        }
    }
    let mut order = vec![0u32; tree.entries.len()];
    let mut filled = vec![0u32; tree.inodes.len()];
    for (index, entry) in tree.entries.iter().enumerate() {
        let StoredData::Directory { start, .. } = tree.inodes[entry.parent.index()].data else { unreachable!() };
        let filled = &mut filled[entry.parent.index()];
        order[(start + *filled) as usize] = index as u32;
        *filled += 1;
    }
    drop(filled);
    tree.entries = order.iter().map(|&index| tree.entries[index as usize]).collect();
    drop(order);
    let Tree { bytes, entries, inodes, .. } = tree;
    for entry in entries.iter() {
        if let StoredData::Directory { parent, .. } = &mut inodes[entry.id().index()].data {
            *parent = entry.parent;
        }
    }
    for inode in inodes {
        if let StoredData::Directory { start, len, .. } = inode.data {
            let group = &mut entries[start as usize..(start + len) as usize];
            if !group.is_sorted_by(|a, b| bytes.get(a.name) <= bytes.get(b.name)) {
                group.sort_unstable_by(|a, b| bytes.get(a.name).cmp(bytes.get(b.name)));
            }
        }
    }
}
