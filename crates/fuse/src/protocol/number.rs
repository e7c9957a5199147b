//! Integers of the protocol, which have the byte order of the machine.
#![expect(clippy::host_endian_bytes, reason = "the kernel speaks the byte order of the machine")]

/// The rest of a request that is still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestFields<'r>(pub(super) &'r [u8]);

impl<'r> RequestFields<'r> {
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }

    /// A name that ends with a zero byte.
    pub(super) fn name(&mut self) -> Option<&'r [u8]> {
        let end = self.0.iter().position(|&byte| byte == 0)?;
        let name = self.0.get(..end)?;
        self.0 = self.0.get(end + 1..)?;
        Some(name)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }
}

pub(super) fn bytes32(value: u32) -> [u8; 4] {
    value.to_ne_bytes()
}

pub(super) fn bytes64(value: u64) -> [u8; 8] {
    value.to_ne_bytes()
}

pub(super) fn put16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_ne_bytes());
}

pub(super) fn put32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_ne_bytes());
}

pub(super) fn put64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_ne_bytes());
}
