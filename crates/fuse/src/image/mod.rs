//! A whole image as a file system: metadata from the image in memory, contents from the objects.
//!
//! What it shows is what the kernel's mount of the same image shows (EROFS below overlayfs): the 256 stubs in the root
//! are hidden, as are overlayfs's own attributes.

mod survey;
mod xattrs;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::read::{Backing, ImageReader, RawInode, ReadError};
use libcomposefs_image::tree::Kind;
use rustix::io::Errno;

use self::survey::has_visible_xattrs;
pub use self::xattrs::ShownAttributes;
use self::xattrs::{VisibleXattrs, XattrForm};
use crate::file_system::{Opened, ReadReply, ServedFileSystem};
use crate::objects::{ContentDamage, ObjectContents, ObjectName, shown};
use crate::protocol::{
    Attributes, Capabilities, DirectoryBuffer, DirectoryEntry, Entry, ROOT_ID, Statistics, Validity,
};
use crate::supply::{ObjectSupply, STATUS_ATTRIBUTE};

/// Options of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageOptions {
    /// Set if the server hides POSIX ACLs although the image has some.
    pub no_acl: bool,
    /// Set if root may see the names of `trusted.` attributes: for a mount outside of user namespaces.
    pub lists_trusted: bool,
    /// Form of the extended attributes.
    pub shown: ShownAttributes,
    /// File system whose numbers `statfs(2)` returns.
    pub statistics_of: StatisticsOf,
}

/// A choice of numbers for `statfs(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatisticsOf {
    /// The image: a file system as large as the image, and full.
    #[default]
    Image,
    /// The file system of the first object directory, where new objects would go.
    Objects,
}

/// A function that is called with each object that is read.
type ReadRecorder<'i> = Box<dyn Fn(&Digest) + Send + Sync + 'i>;

/// The server of an image.
///
/// A node is the number of an inode in the image (nid), except that the root is node 1.
pub struct ImageServer<'i> {
    reader: ImageReader<'i>,
    root_nid: u64,
    objects: ObjectContents,
    options: ImageOptions,
    has_xattrs: bool,
    report: Box<dyn Fn(&ContentDamage) + Send + Sync + 'i>,
    supply: Option<Arc<dyn ObjectSupply + 'i>>,
    read: Option<ReadRecorder<'i>>,
}

impl fmt::Debug for ImageServer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageServer").field("objects", &self.objects).field("options", &self.options).finish()
    }
}

impl<'i> ImageServer<'i> {
    /// A server of the image, with the objects that it names.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the image has no root directory.
    pub fn new(reader: ImageReader<'i>, objects: ObjectContents, options: ImageOptions) -> Result<Self, ReadError> {
        let root_nid = reader.root()?.nid();
        let has_acl = reader.header().has_acl() && !options.no_acl;
        let has_xattrs = has_visible_xattrs(&reader, XattrForm { has_acl, shown: options.shown });
        Ok(Self { reader, root_nid, objects, options, has_xattrs, report: Box::new(|_| ()), supply: None, read: None })
    }

    /// Sets a function that is called with each failure for which a process gets `EIO`.
    #[must_use]
    pub fn with_report(mut self, report: impl Fn(&ContentDamage) + Send + Sync + 'i) -> Self {
        self.report = Box::new(report);
        self
    }

    /// Sets where objects come from that are missing: the first read of such a file waits for its object. The root
    /// directory has the attribute [`STATUS_ATTRIBUTE`] then.
    #[must_use]
    pub fn with_supply(mut self, supply: Arc<dyn ObjectSupply + 'i>) -> Self {
        self.supply = Some(supply);
        self
    }

    /// Sets a function that is called with the digest of an object at each read of it that has succeeded, before the
    /// process has the content.
    #[must_use]
    pub fn with_reads(mut self, read: impl Fn(&Digest) + Send + Sync + 'i) -> Self {
        self.read = Some(Box::new(read));
        self
    }

    fn has_acl(&self) -> bool {
        self.reader.header().has_acl() && !self.options.no_acl
    }

    fn inode(&self, node: u64) -> Result<RawInode, Errno> {
        let nid = if node == ROOT_ID { self.root_nid } else { node };
        self.reader.inode(nid).map_err(|error| self.failed(error))
    }

    fn entry(&self, inode: &RawInode) -> Result<Entry, Errno> {
        let node = match inode.nid() {
            nid if nid == self.root_nid => ROOT_ID,
            // Numbers with a meaning of their own. No inode of an image can be there, since the header is.
            nid @ (0 | ROOT_ID) => return Err(self.failed(ContentDamage::NodeNumber { nid })),
            nid => nid,
        };
        Ok(Entry { node, attributes: attributes(inode), validity: Validity::FOREVER })
    }

    /// Returns the inode that a name of a directory leads to; `None` if overlayfs hides it.
    fn visible(&self, nid: u64, file_type: u8) -> Result<Option<RawInode>, Errno> {
        let inode = self.reader.inode(nid).map_err(|error| self.failed(error))?;
        if inode.is_whiteout() {
            return Ok(None);
        }
        // The kernel would show a type in listings and another one in `stat`.
        let is_right = u16::from(dirent_type(file_type)) == inode.record().mode >> 12;
        if is_right { Ok(Some(inode)) } else { Err(self.failed(ContentDamage::FileType { nid })) }
    }

    /// Reports a failure, and returns the error number for it.
    fn failed(&self, damage: impl Into<ContentDamage>) -> Errno {
        let damage = damage.into();
        (self.report)(&damage);
        damage.errno()
    }

    fn object_name(&self, inode: &RawInode) -> Result<ObjectName<'i>, ContentDamage> {
        let Some(Backing { payload: Some(payload), digest, .. }) = self.reader.backing(inode)? else {
            return Err(ContentDamage::NoObject { nid: inode.nid() });
        };
        Ok(ObjectName { payload, digest, size: inode.record().size })
    }

    /// Checks that objects are named by their digests, as a layer of an overlay demands: overlayfs finds them by name.
    /// Looks at the first 131,072 names; an object that comes later and is named otherwise gives `EIO`.
    ///
    /// # Errors
    ///
    /// [`ContentDamage::ObjectPath`], [`ContentDamage::NoDigest`], or what reading the image gives.
    pub fn check_object_paths(&self) -> Result<(), ContentDamage> {
        let check = |inode: &RawInode| {
            if inode.is_external() {
                self.check_object_path(inode)?;
            }
            Ok::<_, ContentDamage>(ControlFlow::Continue(()))
        };
        survey::walk(&self.reader, check).map(drop)
    }

    /// Refuses an object that is not named by its digest: overlayfs finds the object by the name alone.
    fn check_object_path(&self, inode: &RawInode) -> Result<(), ContentDamage> {
        let name = self.object_name(inode)?;
        let slashes = name.payload.iter().take_while(|&&byte| byte == b'/').count();
        let path = name.payload.get(slashes..).unwrap_or_default();
        match name.digest {
            Some(digest) if digest.has_object_path(path) => Ok(()),
            Some(digest) => Err(ContentDamage::ObjectPath { nid: inode.nid(), digest: Box::new(digest) }),
            None => Err(ContentDamage::NoDigest { payload: shown(name.payload) }),
        }
    }

    fn xattrs_of(&self, node: u64) -> Result<VisibleXattrs<'_, 'i>, Errno> {
        let form = XattrForm { has_acl: self.has_acl(), shown: self.options.shown };
        let inode = self.inode(node)?;
        if form.shown == ShownAttributes::Layer && inode.is_external() {
            self.check_object_path(&inode).map_err(|damage| self.failed(damage))?;
        }
        VisibleXattrs::new(&self.reader, &inode, form).map_err(|error| self.failed(error))
    }

    /// Adds one name of a directory; returns false if it has no room.
    fn add_name(
        &self,
        name: &[u8],
        nid: u64,
        file_type: u8,
        position: u64,
        names: &mut DirectoryBuffer<'_>,
    ) -> Result<bool, Errno> {
        let is_dot = matches!(name, b"." | b"..");
        let mut entry = None;
        if !is_dot && (names.wants_entries() || dirent_type(file_type) == DT_CHR) {
            let Some(inode) = self.visible(nid, file_type)? else { return Ok(true) };
            entry = Some(self.entry(&inode)?);
        }
        let name = DirectoryEntry { name, ino: nid, file_type: dirent_type(file_type), position };
        Ok(names.add(&name, entry.as_ref()))
    }
}

impl ServedFileSystem for ImageServer<'_> {
    fn capabilities(&self) -> Capabilities {
        let acl = if self.has_acl() { Capabilities::POSIX_ACL } else { Capabilities::default() };
        Capabilities::READ_ONLY.with(acl)
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno> {
        let directory = self.inode(parent)?;
        let found = self.reader.lookup(&directory, name).map_err(|error| self.failed(error))?;
        let Some(found) = found.filter(|_| !matches!(name, b"." | b"..")) else {
            return Ok(Entry::negative(Validity::FOREVER));
        };
        match self.visible(found.nid, found.file_type)? {
            Some(inode) => self.entry(&inode),
            None => Ok(Entry::negative(Validity::FOREVER)),
        }
    }

    fn attributes(&self, node: u64) -> Result<(Attributes, Validity), Errno> {
        Ok((attributes(&self.inode(node)?), Validity::FOREVER))
    }

    fn read_link(&self, node: u64, out: &mut Vec<u8>) -> Result<(), Errno> {
        let inode = self.inode(node)?;
        if inode.kind() != Kind::Symlink {
            return Err(Errno::INVAL);
        }
        let target = self.reader.flat_content(&inode).map_err(|error| self.failed(error))?;
        if target.blocks.len() + target.tail.len() >= PATH_MAX {
            return Err(Errno::IO);
        }
        out.extend_from_slice(target.blocks);
        out.extend_from_slice(target.tail);
        Ok(())
    }

    fn open(&self, _node: u64) -> Result<Opened, Errno> {
        // Files need no opening: READ has the node, and pages stay in the cache.
        Err(Errno::NOSYS)
    }

    fn open_directory(&self, _node: u64) -> Result<Opened, Errno> {
        Err(Errno::NOSYS)
    }

    fn read<'s>(&'s self, node: u64, offset: u64, size: u32, buffer: &mut Vec<u8>) -> Result<ReadReply<'s>, Errno> {
        let inode = self.inode(node)?;
        if !inode.is_external() {
            let content = self.reader.flat_content(&inode).map_err(|error| self.failed(error))?;
            return Ok(flat_range(content.blocks, content.tail, offset, size, buffer));
        }
        let name = || self.object_name(&inode);
        let reply = self.objects.read(node, name, (offset, size), buffer).map_err(|damage| self.failed(damage))?;
        if let Some(read) = &self.read
            && let Some(digest) = name().ok().and_then(|name| name.digest)
        {
            read(&digest);
        }
        Ok(reply)
    }

    fn read_directory(&self, node: u64, position: u64, names: &mut DirectoryBuffer<'_>) -> Result<(), Errno> {
        let directory = self.inode(node)?;
        let entries = self.reader.entries_from(&directory, position);
        let mut entries = entries.map_err(|error| self.failed(error))?;
        let mut is_first = true;
        while let Some(entry) = entries.next() {
            let added = match entry.map_err(|error| self.failed(error)) {
                Ok(found) => self.add_name(found.name, found.nid, found.file_type, entries.position(), names),
                Err(errno) => Err(errno),
            };
            match added {
                Ok(true) => is_first = false,
                Ok(false) => break,
                // The names before the wrong one are returned; the next request finds it first.
                Err(errno) if is_first => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn must_wait(&self, node: u64) -> bool {
        if self.supply.is_none() {
            return false;
        }
        match self.inode(node) {
            Ok(inode) if inode.is_external() => {
                self.object_name(&inode).is_ok_and(|name| !self.objects.is_here(node, &name))
            }
            _ => false,
        }
    }

    fn wait_for(&self, node: u64) -> Result<(), Errno> {
        let Some(supply) = &self.supply else { return Ok(()) };
        let name = self.object_name(&self.inode(node)?).map_err(|damage| self.failed(damage))?;
        // Without a digest nothing can be compared, as the read will say.
        let Some(digest) = name.digest else { return Ok(()) };
        supply
            .supply(&digest, name.size)
            .map_err(|source| self.failed(ContentDamage::Supply { digest: Box::new(digest), source }))
    }

    fn end(&self) {
        if let Some(supply) = &self.supply {
            supply.end();
        }
    }

    fn xattr(&self, node: u64, name: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        if let Some(supply) = self.supply.as_ref().filter(|_| node == ROOT_ID && name == STATUS_ATTRIBUTE.as_bytes()) {
            out.extend_from_slice(&supply.status());
            return Ok(());
        }
        if !self.has_xattrs {
            // ENOSYS would end all questions for attributes, that for the status included.
            return Err(if self.supply.is_some() { Errno::NODATA } else { Errno::NOSYS });
        }
        for xattr in self.xattrs_of(node)? {
            let xattr = xattr.map_err(|error| self.failed(error))?;
            if xattr.is_named(name) {
                out.extend_from_slice(xattr.value);
                return Ok(());
            }
        }
        // As of a file system that is mounted with `noacl`.
        Err(if xattrs::is_acl(name) && !self.has_acl() { Errno::OPNOTSUPP } else { Errno::NODATA })
    }

    fn xattr_names(&self, node: u64, user: u32, out: &mut Vec<u8>) -> Result<(), Errno> {
        if !self.has_xattrs {
            return if self.supply.is_some() { Ok(()) } else { Err(Errno::NOSYS) };
        }
        let shows_trusted = self.options.lists_trusted && user == 0;
        for xattr in self.xattrs_of(node)? {
            let xattr = xattr.map_err(|error| self.failed(error))?;
            if shows_trusted || !xattr.is_trusted() {
                xattr.put_name(out);
            }
        }
        Ok(())
    }

    fn statistics(&self) -> Result<Statistics, Errno> {
        let files = self.reader.superblock().inode_count;
        let objects = match self.options.statistics_of {
            StatisticsOf::Image => None,
            StatisticsOf::Objects => self.objects.statistics(),
        };
        let Some(found) = objects.transpose()? else {
            let blocks = (self.reader.bytes().len() as u64).div_ceil(4096);
            return Ok(Statistics { blocks, files, bsize: 4096, frsize: 4096, ..Statistics::default() });
        };
        Ok(Statistics::of(&found, files))
    }
}

/// The longest target of a symlink, with its zero byte (`PATH_MAX`).
const PATH_MAX: usize = 4096;

/// `DT_CHR`, the type of a character device in listings.
const DT_CHR: u8 = 2;

/// Returns the type that `readdir(3)` has, for one of the image (`include/linux/fs_types.h`).
fn dirent_type(file_type: u8) -> u8 {
    match file_type {
        1 => 8,
        2 => 4,
        3 => DT_CHR,
        4 => 6,
        5 => 1,
        6 => 12,
        7 => 10,
        _ => 0,
    }
}

fn attributes(inode: &RawInode) -> Attributes {
    let (record, mtime) = (inode.record(), inode.mtime());
    Attributes {
        ino: inode.nid(),
        size: record.size,
        mtime: mtime.sec,
        mtime_nsec: mtime.nsec,
        mode: record.mode.into(),
        nlink: record.nlink,
        uid: record.uid,
        gid: record.gid,
        rdev: inode.rdev(),
    }
}

/// A range of a content that the image has in two pieces.
fn flat_range<'s>(blocks: &'s [u8], tail: &'s [u8], offset: u64, size: u32, buffer: &mut Vec<u8>) -> ReadReply<'s> {
    let len = blocks.len() + tail.len();
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(len);
    let end = start.saturating_add(size as usize).min(len);
    let cut = |piece: &'s [u8], at: usize| {
        let (from, to) = (start.clamp(at, at + piece.len()) - at, end.clamp(at, at + piece.len()) - at);
        piece.get(from..to).unwrap_or_default()
    };
    match (cut(blocks, 0), cut(tail, blocks.len())) {
        (only, []) | ([], only) => ReadReply::Borrowed(only),
        (first, second) => {
            buffer.clear();
            buffer.extend_from_slice(first);
            buffer.extend_from_slice(second);
            ReadReply::Buffered(0..buffer.len())
        }
    }
}
