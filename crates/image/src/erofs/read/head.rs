//! The first bytes of an image: enough to know whether it is one, and how long it is.

use super::error::{Defect, ReadError};
use super::reader::{expect_known_version, superblock_defects};
use crate::erofs::constants::{BLOCK, INODES_OFFSET, SUPERBLOCK_OFFSET};
use crate::erofs::header::Header;
use crate::erofs::superblock::{self, Superblock};

/// Header and superblock of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The fields of the composefs header.
    pub header: Header,
    /// The fields of the EROFS superblock.
    pub superblock: Superblock,
}

impl Head {
    /// The length of the two in bytes.
    pub const LEN: usize = INODES_OFFSET as usize;

    /// Parses the first [`Head::LEN`] bytes of an image whose file has `len` bytes, and checks the rules of the
    /// superblock: the features, the block size, and that the file is not cut off.
    pub fn parse(bytes: &[u8], len: u64) -> Result<Self, ReadError> {
        let header = Header::parse(bytes).map_err(|error| Defect::from(error).at(0))?;
        let found = bytes.get(SUPERBLOCK_OFFSET as usize..).and_then(<[u8]>::first_chunk::<{ superblock::LEN }>);
        let found = found.ok_or_else(|| Defect::NoSuperblock { len }.at(SUPERBLOCK_OFFSET))?;
        let superblock = Superblock::parse(found).map_err(|found| Defect::Magic { found }.at(SUPERBLOCK_OFFSET))?;
        match superblock_defects(&superblock, len).next() {
            Some(error) => Err(error),
            None => Ok(Self { header, superblock }),
        }
    }
}

/// The number of bytes at the start of a file from which the length of its image follows.
pub const HEAD_LEN: usize = Head::LEN;

/// Returns the length of an image from the first [`HEAD_LEN`] bytes of its file. Bytes after that length are not part
/// of the image. The file may also be shorter: then the reader of the whole image refuses it.
///
/// # Errors
///
/// The errors for which the reader of the whole image refuses the file as well.
pub fn said_len(bytes: &[u8]) -> Result<u64, ReadError> {
    let head = Head::parse(bytes, u64::MAX)?;
    expect_known_version(&head.header)?;
    Ok(u64::from(head.superblock.blocks) * BLOCK)
}
