//! The checksum of the superblock (CRC-32C), which composefs does without, and other writers may not.

use crate::erofs::constants::{BLOCK, SUPERBLOCK_OFFSET};
use crate::erofs::superblock::CHECKSUM_OFFSET;

/// The checksum that the kernel expects: of the superblock up to the end of its block, its own field being zero
/// (`erofs_superblock_csum_verify` in `fs/erofs/super.c`). `None` if the file is shorter.
pub(super) fn of_superblock(image: &[u8]) -> Option<u32> {
    let block = image.get(SUPERBLOCK_OFFSET as usize..BLOCK as usize)?;
    let (before, rest) = block.split_at(CHECKSUM_OFFSET);
    let after = rest.get(4..)?;
    let crc = [before, &[0; 4], after].into_iter().flatten().fold(u32::MAX, |crc, byte| step(crc, *byte));
    Some(crc)
}

/// One byte further: polynomial 0x1EDC6F41, the lowest bit first.
fn step(crc: u32, byte: u8) -> u32 {
    (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_crc_32c() {
        // The check value of the catalogue, whose last step turns all bits round.
        assert_eq!(!b"123456789".iter().fold(u32::MAX, |crc, byte| step(crc, *byte)), 0xe306_9283);
    }
}
