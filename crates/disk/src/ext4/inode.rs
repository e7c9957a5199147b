//! The bytes of an inode.

use super::bytes::{PutLe as _, high16, high32, low16, low32};
use super::checksum::crc32c;
use super::geometry::INODE_LEN;

/// The file has extents.
pub(super) const EXTENTS: u32 = 0x8_0000;
/// The file has fs-verity.
pub(super) const VERITY: u32 = 0x10_0000;
/// Bytes of an inode after the first 128 that have a meaning.
pub(super) const EXTRA_LEN: u16 = 32;

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InodeTime {
    pub(crate) sec: i64,
    pub(crate) nsec: u32,
}

impl InodeTime {
    /// Returns the two fields of a time: seconds of 32 bits with a sign, then two more bits of them below the
    /// nanoseconds. Times that do not fit (before 1901, after 2446) become the nearest one.
    fn fields(self) -> (u32, u32) {
        let sec = self.sec.clamp(i64::from(i32::MIN), i64::from(i32::MIN) + (4 << 32) - 1);
        let low = low32(sec.cast_unsigned());
        let epoch = low32(((sec - i64::from(low.cast_signed())) >> 32).cast_unsigned()) & 3;
        (low, self.nsec.min(999_999_999) << 2 | epoch)
    }
}

/// All that an inode says.
#[derive(Clone, Debug)]
pub(super) struct Ext4Inode {
    /// Type and permissions.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) time: InodeTime,
    pub(super) links: u16,
    /// Number of blocks, with those of the map and of the attributes.
    pub(super) blocks: u64,
    pub(super) flags: u32,
    /// The map, a short symlink or a device number.
    pub(super) map: [u8; 60],
    /// Block of the attributes, or 0.
    pub(super) xattr_block: u64,
}

impl Ext4Inode {
    /// Returns the bytes, with the checksum that continues `seed`.
    pub(super) fn encode(&self, seed: u32) -> [u8; INODE_LEN as usize] {
        let mut bytes = [0; INODE_LEN as usize];
        let (sec, extra) = self.time.fields();
        let sectors = self.blocks * 8;
        bytes.put16(0, self.mode);
        bytes.put16(2, low16(self.uid));
        bytes.put32(4, low32(self.size));
        for at in [8, 12, 16, 0x90] {
            bytes.put32(at, sec);
        }
        for at in [0x84, 0x88, 0x8c, 0x94] {
            bytes.put32(at, extra);
        }
        bytes.put16(0x18, low16(self.gid));
        bytes.put16(0x1a, self.links);
        bytes.put32(0x1c, low32(sectors));
        bytes.put32(0x20, self.flags);
        bytes[0x28..0x64].copy_from_slice(&self.map);
        bytes.put32(0x68, low32(self.xattr_block));
        bytes.put32(0x6c, high32(self.size));
        bytes.put16(0x74, low16(high32(sectors)));
        bytes.put16(0x76, low16(high32(self.xattr_block)));
        bytes.put16(0x78, high16(self.uid));
        bytes.put16(0x7a, high16(self.gid));
        bytes.put16(0x80, EXTRA_LEN);
        let checksum = crc32c(seed, &bytes);
        bytes.put16(0x7c, low16(checksum));
        bytes.put16(0x82, high16(checksum));
        bytes
    }
}

/// Returns the seed of the checksums of an inode and its blocks. The generation of every inode is 0.
pub(super) fn inode_seed(seed: u32, inode: u32) -> u32 {
    crc32c(crc32c(seed, &inode.to_le_bytes()), &[0; 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_after_2038() {
        let fields = |sec| InodeTime { sec, nsec: 5 }.fields();
        assert_eq!(fields(1), (1, 20));
        assert_eq!(fields(-1), (u32::MAX, 20));
        assert_eq!(fields(0x8000_0000), (0x8000_0000, 21));
        assert_eq!(fields(0x1_0000_0000), (0, 21));
        assert_eq!(fields(i64::MAX), (0x7fff_ffff, 23));
        assert_eq!(fields(i64::MIN), (0x8000_0000, 20));
    }
}
