//! Keeping an inode in the tables of a tree, whatever builds it.

use std::num::NonZeroU32;

use super::arena::{ByteArena, FixedInterner, Interner};
use super::error::TreeError;
use super::xattrs::{SetId, Xattr, XattrTable};
use super::{
    ByteSpan, InodeId, Kind, LINK_BIT, MAX_INLINE, MAX_PATH, StoredData, StoredInode, StoredPayload, Timestamp, Tree,
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
    /// The user ID of the owner.
    pub uid: u32,
    /// The group ID of the owner.
    pub gid: u32,
    /// Device number, used for devices only.
    pub rdev: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// A symlink's target, or the path of a regular file's object below the store.
    pub payload: Option<&'a [u8]>,
    /// Set if a regular file without a payload has the path of its digest's object as its payload, which then is not
    /// stored.
    pub is_object: bool,
    /// A regular file's content, if the image is to hold it. Its length must be `size`.
    pub content: Option<&'a [u8]>,
    /// A regular file's fs-verity digest, of the tree's algorithm.
    pub digest: Option<Digest>,
    /// Extended attributes in any order; of a repeated name the last one counts.
    pub xattrs: &'a [Xattr<'a>],
}

impl Tree {
    /// An empty tree, which lacks its root.
    pub(super) fn empty(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            bytes: ByteArena::default(),
            entries: Vec::new(),
            inodes: Vec::new(),
            xattrs: XattrTable::default(),
            digests: FixedInterner::new(algorithm.digest_len()),
            payloads: Interner::default(),
        }
    }

    /// Adds an inode without a place, with a set of attributes that was interned.
    pub(super) fn push_inode(&mut self, new: &NewInode<'_>, xattrs: SetId) -> Result<InodeId, TreeError> {
        let kind = Kind::from_mode(new.mode).ok_or(TreeError::Mode(new.mode))?;
        let id = u32::try_from(self.inodes.len()).ok().filter(|id| *id < LINK_BIT - 1);
        let id = InodeId(id.ok_or(TreeError::TooManyInodes)?);
        let (size, data) = self.store_data(kind, new)?;
        let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        self.inodes.push(StoredInode {
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

    /// Adds a copy of an inode with another time of last modification.
    pub(super) fn push_changed(&mut self, inode: InodeId, mtime: Timestamp) -> Result<InodeId, TreeError> {
        let id = u32::try_from(self.inodes.len()).ok().filter(|id| *id < LINK_BIT - 1);
        let id = InodeId(id.ok_or(TreeError::TooManyInodes)?);
        let copy = StoredInode { mtime_sec: mtime.sec, mtime_nsec: mtime.nsec, ..self.inodes[inode.index()] };
        self.inodes.push(copy);
        Ok(id)
    }

    fn store_data(&mut self, kind: Kind, new: &NewInode<'_>) -> Result<(u64, StoredData), TreeError> {
        let payload_len = new.payload.map_or(0, <[u8]>::len);
        if kind == Kind::Symlink {
            let target = new.payload.filter(|t| (1..=MAX_PATH).contains(&t.len()));
            let target = target.ok_or(TreeError::SymlinkTarget(payload_len))?;
            return Ok((target.len() as u64, StoredData::Symlink(self.bytes.push(target))));
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
                    content => content.map_or(ByteSpan::default(), |content| self.bytes.push(content)),
                };
                let digest = new.digest.map(|digest| self.store_digest(digest)).transpose()?;
                let payload = new.payload.filter(|p| !p.is_empty());
                let payload = match (payload, new.digest, digest) {
                    (None, _, Some(index)) if new.is_object => StoredPayload::Object(index.get() - 1),
                    (None, ..) => StoredPayload::None,
                    // Nearly always; no need to read the digest from it.
                    (Some(path), Some(own), Some(index)) if own.has_object_path(path) => {
                        StoredPayload::Object(index.get() - 1)
                    }
                    (Some(path), ..) => self.store_payload(path),
                };
                Ok((new.size, StoredData::Regular { content, payload, digest }))
            }
            _ => Ok((new.size, StoredData::Special)),
        }
    }

    fn store_digest(&mut self, digest: Digest) -> Result<NonZeroU32, TreeError> {
        if digest.algorithm() != self.algorithm {
            return Err(TreeError::DigestAlgorithm { found: digest.algorithm(), expected: self.algorithm });
        }
        let index = self.digests.intern(digest.as_bytes());
        Ok(NonZeroU32::MIN.saturating_add(index))
    }

    /// Payloads that spell an object path are kept as the digest they spell, whosever it is, so that equal
    /// payloads are equal here whatever way they came in.
    fn store_payload(&mut self, payload: &[u8]) -> StoredPayload {
        match Digest::from_object_path(payload) {
            Some(digest) if digest.algorithm() == self.algorithm => {
                StoredPayload::Object(self.digests.intern(digest.as_bytes()))
            }
            _ => StoredPayload::Path(self.payloads.intern(payload)),
        }
    }

    /// Forgets the look-up tables, when nothing more is added.
    pub(super) fn freeze(&mut self) {
        self.digests.freeze();
        self.payloads.freeze();
        self.xattrs.sort();
    }
}
