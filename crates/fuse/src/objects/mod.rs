//! Contents of objects, of which no byte is returned before it was verified.
//!
//! An object is opened when it is first read and stays open for a time. How its bytes are verified depends on the
//! object: if fs-verity is enabled with the expected digest, the kernel checks each read. Else the server compares
//! every block with the Merkle tree that leads to the digest: an object that one request covers is hashed whole; of
//! others the tree is computed once, and kept in part ([`tree`]).

mod cache;
mod kept;
mod leaves;
mod object;
mod tree;

use std::collections::BTreeSet;
use std::path::Path;

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::read::ReadError;
use libcomposefs_store::{Basedirs, ObjectError};
use libcomposefs_sys::limits::open_files_max;
use rustix::fs::StatVfs;
use rustix::io::Errno;

pub(crate) use self::object::{VerifiedObject, shown};

use self::cache::ObjectCache;
use self::kept::KeptContents;
use self::leaves::LeafCache;
use crate::file_system::ReadReply;

/// Who is trusted with the contents of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// No program: each block is compared with the digest that the image records.
    Verify,
    /// The object directories: nothing is compared but the length.
    Insecure,
}

/// A failure that a process sees as an error number only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentDamage {
    /// The object is missing, or cannot be opened or read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The content is not the one that the digest names.
    #[error("the object {path} differs from its digest {expected:?} in the bytes from {offset} on")]
    Content {
        /// Path of the object, escaped.
        path: String,
        /// The digest that the image records.
        expected: Box<Digest>,
        /// Offset of the first block that may differ.
        offset: u64,
    },
    /// The image itself is damaged.
    #[error(transparent)]
    Image(#[from] ReadError),
    /// The image names no object for a file whose content is not in the image.
    #[error("inode {nid} of the image has no content, and names no object")]
    NoObject {
        /// Number of the inode.
        nid: u64,
    },
    /// A name of the image says another type than its inode has.
    #[error("inode {nid} of the image is of another type than its name says")]
    FileType {
        /// Number of the inode.
        nid: u64,
    },
    /// A name of the image leads to its header.
    #[error("a name of the image leads to inode {nid}, where its header is")]
    NodeNumber {
        /// Number of the inode.
        nid: u64,
    },
    /// The path of an object is not that of its digest.
    #[error("inode {nid} of the image has an object whose path is not that of its digest {digest:?}")]
    ObjectPath {
        /// Number of the inode.
        nid: u64,
        /// The digest that the image records.
        digest: Box<Digest>,
    },
    /// The object is not here, and cannot be got.
    #[error("the object {digest} is not here, and cannot be fetched: {source}")]
    Supply {
        /// Digest of the object.
        digest: Box<Digest>,
        /// The reason.
        source: crate::SupplyError,
    },
    /// The image records no digest, so that nothing can be compared.
    #[error("the image records no digest for the object {payload}")]
    NoDigest {
        /// Payload of the object, escaped.
        payload: String,
    },
}

impl ContentDamage {
    /// Returns the error number that a process gets: `EIO`, never one that a missing file would have.
    #[must_use]
    pub fn errno(&self) -> Errno {
        Errno::IO
    }
}

/// An object as an image names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObjectName<'i> {
    pub(crate) payload: &'i [u8],
    pub(crate) digest: Option<Digest>,
    pub(crate) size: u64,
}

/// The objects of an image: those that are open, and what was computed of them.
#[derive(Debug)]
pub struct ObjectContents {
    basedirs: Basedirs,
    trust: Trust,
    open: ObjectCache,
    caches: ContentCaches,
}

/// What all objects share: hashes of blocks, and contents that are being read.
#[derive(Debug)]
pub(crate) struct ContentCaches {
    leaves: LeafCache,
    kept: KeptContents,
}

impl ObjectContents {
    /// Opens the object directories. As many objects are kept open as a half of the limit on open files allows.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Basedir`]
    pub fn open<P: AsRef<Path>>(basedirs: &[P], trust: Trust) -> Result<Self, ObjectError> {
        let caches = ContentCaches { leaves: LeafCache::default(), kept: KeptContents::default() };
        let open = ObjectCache::new(open_files_max() / 2);
        Ok(Self { basedirs: Basedirs::open(basedirs)?, trust, open, caches })
    }

    /// Returns the numbers of the file system of the first object directory.
    pub(crate) fn statistics(&self) -> Option<rustix::io::Result<StatVfs>> {
        // By the descriptor: a path could lead into the mount that is served.
        self.basedirs.first().map(rustix::fs::fstatvfs)
    }

    /// Reads from the object of a node. `name` is called if the object is not open, or cannot be read.
    ///
    /// A damaged object stays open: the hashes of its blocks are known, so that other blocks can still be read. Only if
    /// another file has the name meanwhile, as after a repair, that file is opened and read.
    pub(crate) fn read<'i, 's>(
        &self,
        node: u64,
        name: impl Fn() -> Result<ObjectName<'i>, ContentDamage>,
        range: (u64, u32),
        buffer: &mut Vec<u8>,
    ) -> Result<ReadReply<'s>, ContentDamage> {
        let object = self.open.get_or_open(node, || self.open_object(&name()?))?;
        let damage = match object.read(range.0, range.1, buffer, &self.caches) {
            Err(damage) => damage,
            reply => return reply,
        };
        match name().and_then(|name| self.open_object(&name)) {
            Ok(found) if !found.is_same_file(&object) => {
                self.open.remove(node);
                let object = self.open.get_or_open(node, || Ok::<_, ContentDamage>(found))?;
                object.read(range.0, range.1, buffer, &self.caches)
            }
            _ => Err(damage),
        }
    }

    /// Returns true if the object of a node is here with its length. Opens it if it is not open.
    pub(crate) fn is_here(&self, node: u64, name: &ObjectName<'_>) -> bool {
        self.open.get_or_open(node, || self.open_object(name)).is_ok()
    }

    /// Returns the length of the file of an object.
    pub(crate) fn size_of(&self, payload: &[u8]) -> Result<u64, ObjectError> {
        self.basedirs.open_object(payload).map(|object| object.size())
    }

    /// Returns the names in a directory below the object directories, sorted.
    pub(crate) fn names_in(&self, directory: &[u8]) -> rustix::io::Result<BTreeSet<Vec<u8>>> {
        self.basedirs.names_in(directory)
    }

    fn open_object(&self, name: &ObjectName<'_>) -> Result<VerifiedObject, ContentDamage> {
        let object = match self.basedirs.open_object(name.payload) {
            Err(ObjectError::Io { source, .. }) if is_full(&source) => {
                self.open.clear();
                self.basedirs.open_object(name.payload)?
            }
            answer => answer?,
        };
        VerifiedObject::new(object, name, self.trust)
    }
}

/// Returns true for `EMFILE` and `ENFILE`.
fn is_full(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
