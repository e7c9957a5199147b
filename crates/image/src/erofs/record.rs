//! The record of an inode: its 32 or 64 bytes (`struct erofs_inode_compact` and `erofs_inode_extended`).

use super::constants::{COMPACT_LEN, EXTENDED_LEN};
use super::superblock::field;
use crate::tree::Timestamp;

/// The two forms of an inode's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordForm {
    /// 32 bytes: narrow fields, and the superblock's time.
    Compact,
    /// The extended form of 64 bytes.
    Extended,
}

/// The layout of an inode's content (`EROFS_INODE_*` in `fs/erofs/erofs_fs.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// The content is in blocks, or empty.
    Plain,
    /// The content is in blocks, and its last piece follows the attributes.
    Inline,
    /// The content is in chunks, whose pointers follow the attributes; those of composefs are null.
    Chunks,
}

impl Layout {
    const fn number(self) -> u16 {
        match self {
            Layout::Plain => 0,
            Layout::Inline => 2,
            Layout::Chunks => 4,
        }
    }
}

/// The fields of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InodeRecord {
    /// The form of the record: compact or extended.
    pub form: RecordForm,
    /// The layout of the content.
    pub layout: Layout,
    /// The length of the attributes: 0, or one more than the number of four-byte units after their header.
    pub xattr_icount: u16,
    /// Type and permission bits, as in `st_mode`.
    pub mode: u16,
    /// The number of hard links.
    pub nlink: u32,
    /// Length of the content.
    pub size: u64,
    /// `i_u`: block number, device number or chunk format.
    pub union_field: u32,
    /// `i_ino`: in versions 0 and 1 the place in the list of inodes. No reader uses it.
    pub ino: u32,
    /// The user ID of the owner.
    pub uid: u32,
    /// The group ID of the owner.
    pub gid: u32,
    /// The time of an extended inode.
    pub mtime: Timestamp,
}

impl RecordForm {
    /// The record's length in bytes.
    #[must_use]
    pub const fn len(self) -> u64 {
        match self {
            RecordForm::Compact => COMPACT_LEN,
            RecordForm::Extended => EXTENDED_LEN,
        }
    }

    /// Returns `false`: a record is never empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }
}

impl InodeRecord {
    /// Appends the record to `out`.
    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let format = self.layout.number() << 1 | u16::from(self.form == RecordForm::Extended);
        for half in [format, self.xattr_icount, self.mode] {
            out.extend_from_slice(&half.to_le_bytes());
        }
        if self.form == RecordForm::Compact {
            out.extend_from_slice(&(self.nlink as u16).to_le_bytes());
            for word in [self.size as u32, 0, self.union_field, self.ino] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(&(self.uid as u16).to_le_bytes());
            out.extend_from_slice(&(self.gid as u16).to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            return;
        }
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.size.to_le_bytes());
        for word in [self.union_field, self.ino, self.uid, self.gid] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.mtime.sec.to_le_bytes());
        out.extend_from_slice(&self.mtime.nsec.to_le_bytes());
        out.extend_from_slice(&self.nlink.to_le_bytes());
        out.extend_from_slice(&[0; 16]);
    }

    /// The record at the beginning of `bytes`. A compact one gets the time given.
    pub(super) fn parse(bytes: &[u8], build_time: Timestamp) -> Result<Self, BadRecord> {
        let format = u16::from_le_bytes(*bytes.first_chunk().ok_or(BadRecord::TooShort)?);
        let layout = match format >> 1 {
            0 => Layout::Plain,
            2 => Layout::Inline,
            4 => Layout::Chunks,
            _ => return Err(BadRecord::Format(format)),
        };
        if format & 1 == 0 {
            Self::parse_compact(bytes.first_chunk().ok_or(BadRecord::TooShort)?, layout, build_time)
        } else {
            Self::parse_extended(bytes.first_chunk().ok_or(BadRecord::TooShort)?, layout)
        }
    }

    fn parse_compact(
        bytes: &[u8; COMPACT_LEN as usize],
        layout: Layout,
        build_time: Timestamp,
    ) -> Result<Self, BadRecord> {
        let half = |offset| u16::from_le_bytes(field(bytes, offset));
        let word = |offset| u32::from_le_bytes(field(bytes, offset));
        Ok(Self {
            form: RecordForm::Compact,
            layout,
            xattr_icount: half(2),
            mode: half(4),
            nlink: half(6).into(),
            size: word(8).into(),
            union_field: word(16),
            ino: word(20),
            uid: half(24).into(),
            gid: half(26).into(),
            mtime: build_time,
        })
    }

    fn parse_extended(bytes: &[u8; EXTENDED_LEN as usize], layout: Layout) -> Result<Self, BadRecord> {
        let half = |offset| u16::from_le_bytes(field(bytes, offset));
        let word = |offset| u32::from_le_bytes(field(bytes, offset));
        Ok(Self {
            form: RecordForm::Extended,
            layout,
            xattr_icount: half(2),
            mode: half(4),
            nlink: word(44),
            size: u64::from_le_bytes(field(bytes, 8)),
            union_field: word(16),
            ino: word(20),
            uid: word(24),
            gid: word(28),
            mtime: Timestamp { sec: i64::from_le_bytes(field(bytes, 32)), nsec: word(40) },
        })
    }
}

/// Reasons why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadRecord {
    TooShort,
    Format(u16),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_both_ways() {
        let time = Timestamp { sec: -1, nsec: 2 };
        let record = InodeRecord {
            form: RecordForm::Extended,
            layout: Layout::Chunks,
            xattr_icount: 3,
            mode: 0o100644,
            nlink: 4,
            size: 5,
            union_field: 6,
            ino: 7,
            uid: 8,
            gid: 9,
            mtime: time,
        };
        for form in [RecordForm::Compact, RecordForm::Extended] {
            let mut bytes = Vec::new();
            InodeRecord { form, ..record }.emit(&mut bytes);
            assert_eq!(bytes.len() as u64, form.len());
            assert_eq!(InodeRecord::parse(&bytes, time), Ok(InodeRecord { form, ..record }));
            assert_eq!(InodeRecord::parse(&bytes[..bytes.len() - 1], time), Err(BadRecord::TooShort));
            bytes[0] |= 0x20;
            assert!(matches!(InodeRecord::parse(&bytes, time), Err(BadRecord::Format(_))));
        }
    }
}
