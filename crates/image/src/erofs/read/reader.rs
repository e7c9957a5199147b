//! An image as bytes, looked at on demand: header, superblock, inodes.

use super::error::{Defect, ReadError};
use super::head::{Head, expect_known_version};
use crate::erofs::constants::{BLOCK, NODE_ALIGN, XATTR_HEADER_LEN};
use crate::erofs::header::Header;
use crate::erofs::record::{BadRecord, InodeRecord, Layout, RecordForm};
use crate::erofs::superblock::{FEATURE_XATTR_FILTER, Superblock};
use crate::tree::{Kind, Timestamp};

/// An image in memory. Whatever is asked of it is checked when it is asked for, and nothing is kept.
#[derive(Clone, Copy, Debug)]
pub struct ImageReader<'a> {
    bytes: &'a [u8],
    header: Header,
    superblock: Superblock,
}

/// An inode of an image, by its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawInode {
    nid: u64,
    offset: u64,
    kind: Kind,
    record: InodeRecord,
}

impl<'a> ImageReader<'a> {
    /// Looks at header and superblock of an image.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let header = Header::parse(bytes).map_err(|error| Defect::from(error).at(0))?;
        expect_known_version(&header)?;
        let Head { header, superblock } = Head::parse(bytes, bytes.len() as u64)?;
        Ok(Self { bytes, header, superblock })
    }

    /// Returns the fields of the composefs header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the fields of the EROFS superblock.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Returns the bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the root directory.
    pub fn root(&self) -> Result<RawInode, ReadError> {
        let root = self.inode(self.superblock.root_nid.into())?;
        if root.kind == Kind::Directory { Ok(root) } else { Err(Defect::RootNotDirectory.of(root.nid, root.offset)) }
    }

    /// An inode by its number.
    pub fn inode(&self, nid: u64) -> Result<RawInode, ReadError> {
        let start = u64::from(self.superblock.inode_block) * BLOCK;
        let offset = nid.checked_mul(NODE_ALIGN).and_then(|offset| offset.checked_add(start));
        let outside = || Defect::InodeOutside { nid }.of(nid, offset.unwrap_or(u64::MAX));
        let bytes = offset.and_then(|offset| self.from(offset)).ok_or_else(outside)?;
        let offset = offset.unwrap_or_default();
        let record = InodeRecord::parse(bytes, self.superblock.build_time).map_err(|error| match error {
            BadRecord::TooShort => outside(),
            BadRecord::Format(format) => Defect::InodeFormat(format).of(nid, offset),
        })?;
        let kind = Kind::from_mode(record.mode.into()).ok_or_else(|| Defect::Mode(record.mode).of(nid, offset))?;
        let inode = RawInode { nid, offset, kind, record };
        match self.slice(inode.xattr_offset(), inode.xattr_len()) {
            Some(_) => Ok(inode),
            None => Err(Defect::XattrsOutside { len: inode.xattr_len() }.of(nid, inode.xattr_offset())),
        }
    }

    /// Returns `true` if the name filters of inodes must be checked.
    pub(in crate::erofs) fn has_xattr_filter(&self) -> bool {
        self.superblock.features & FEATURE_XATTR_FILTER != 0 && self.superblock.xattr_filter_reserved == 0
    }

    /// The bytes from an offset to the end, at least one.
    pub(super) fn from(&self, offset: u64) -> Option<&'a [u8]> {
        self.bytes.get(usize::try_from(offset).ok()?..).filter(|bytes| !bytes.is_empty())
    }

    /// Some bytes at an offset.
    pub(in crate::erofs) fn slice(&self, offset: u64, len: u64) -> Option<&'a [u8]> {
        let end = usize::try_from(offset.checked_add(len)?).ok()?;
        self.bytes.get(usize::try_from(offset).ok()?..end)
    }
}

impl RawInode {
    /// Returns the number of the inode.
    #[must_use]
    pub fn nid(&self) -> u64 {
        self.nid
    }

    /// Returns the offset of the inode in the file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the file type; `None` if the mode has no known type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The fields as they stand there.
    #[must_use]
    pub fn record(&self) -> &InodeRecord {
        &self.record
    }

    /// Returns the form of the inode, compact or extended.
    #[must_use]
    pub fn form(&self) -> RecordForm {
        self.record.form
    }

    /// Time of last modification.
    #[must_use]
    pub fn mtime(&self) -> Timestamp {
        self.record.mtime
    }

    /// Device number of a device; 0 of anything else.
    #[must_use]
    pub fn rdev(&self) -> u32 {
        match self.kind {
            Kind::CharDevice | Kind::BlockDevice => self.record.union_field,
            _ => 0,
        }
    }

    /// Returns `true` if overlayfs treats the inode as a whiteout: a character device 0:0.
    #[must_use]
    pub fn is_whiteout(&self) -> bool {
        self.kind == Kind::CharDevice && self.record.union_field == 0
    }

    /// Returns `true` if the content is an object outside the image.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.record.layout == Layout::Chunks
    }

    /// Returns the offset of the attributes in the file.
    pub(in crate::erofs) fn xattr_offset(&self) -> u64 {
        self.offset + self.record.form.len()
    }

    /// Length of the attributes with their header.
    pub(in crate::erofs) fn xattr_len(&self) -> u64 {
        match self.record.xattr_icount {
            0 => 0,
            icount => XATTR_HEADER_LEN + 4 * u64::from(icount - 1),
        }
    }

    /// Returns the offset of the first byte after the attributes in the file.
    pub(in crate::erofs) fn tail_offset(&self) -> u64 {
        self.xattr_offset() + self.xattr_len()
    }

    /// An error at a position of this inode.
    pub(in crate::erofs) fn error(&self, defect: Defect, offset: u64) -> ReadError {
        defect.of(self.nid, offset)
    }
}
