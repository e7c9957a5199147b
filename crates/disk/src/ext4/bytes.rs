//! Writing little-endian numbers into the structures of ext4.

/// A structure that is filled field by field.
pub(super) trait PutLe {
    /// Stores 16 bits at an offset.
    fn put16(&mut self, at: usize, value: u16);
    /// Stores 32 bits at an offset.
    fn put32(&mut self, at: usize, value: u32);
}

impl PutLe for [u8] {
    fn put16(&mut self, at: usize, value: u16) {
        self[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn put32(&mut self, at: usize, value: u32) {
        self[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

/// Returns the low 16 bits.
pub(super) fn low16(value: u32) -> u16 {
    (value & 0xffff) as u16
}

/// Returns the high 16 bits.
pub(super) fn high16(value: u32) -> u16 {
    (value >> 16) as u16
}

/// Returns the low 32 bits.
pub(super) fn low32(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

/// Returns the high 32 bits.
pub(super) fn high32(value: u64) -> u32 {
    (value >> 32) as u32
}
