//! The first bytes of an image: enough to know whether it is one, and how long it is.

use super::error::{Defect, ReadError};
use crate::erofs::constants::{BLOCK, BLOCK_BITS, INODES_OFFSET, SUPERBLOCK_OFFSET};
use crate::erofs::header::Header;
use crate::erofs::superblock::{self, FEATURE_CHUNKED_FILE, Superblock};

/// The latest format version that can be read. Version 2 is a layout of composefs-rs.
pub(in crate::erofs) const LAST_VERSION: u32 = 2;

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

/// Refuses an image of a format version that is not known.
pub(super) fn expect_known_version(header: &Header) -> Result<(), ReadError> {
    if header.format_version > LAST_VERSION {
        return Err(Defect::FormatVersion(header.format_version).at(12));
    }
    Ok(())
}

/// Every rule of the superblock that is broken.
pub(in crate::erofs) fn superblock_defects(superblock: &Superblock, len: u64) -> impl Iterator<Item = ReadError> {
    let Superblock { block_bits, directory_block_bits, blocks, .. } = *superblock;
    let unknown = superblock.needed_features & !FEATURE_CHUNKED_FILE;
    let features = (unknown != 0).then_some((Defect::Features { features: unknown }, 80));
    let bits = u32::from(block_bits);
    let block_size = (bits != BLOCK_BITS).then_some((Defect::BlockSize { bits }, 12));
    let bits = bits + u32::from(directory_block_bits);
    let directory_block_size = (directory_block_bits != 0).then_some((Defect::BlockSize { bits }, 90));
    let cut_off = (u64::from(blocks) * BLOCK > len).then_some((Defect::CutOff { blocks, len }, 36));
    let areas = [(superblock.inode_block, 40), (superblock.xattr_block, 44)].map(|(block, field)| {
        let is_outside = u64::from(block) * BLOCK > len;
        is_outside.then_some((Defect::AreaOutside { block }, field))
    });
    let all = [features, block_size, directory_block_size, cut_off].into_iter().chain(areas);
    all.flatten().map(|(defect, field)| defect.at(SUPERBLOCK_OFFSET + field))
}
