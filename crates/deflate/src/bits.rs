//! Bits of a DEFLATE stream, the lowest of a byte first.

use std::io::{self, Read};

use crate::byte_source::ByteSource;

/// Number of bits after [`BitReader::refill`] at least: those of a match.
const REFILLED: u32 = 48;

/// Reads bits.
pub(super) struct BitReader<'r, R> {
    input: &'r mut ByteSource<R>,
    bits: u64,
    count: u32,
}

impl<'r, R: Read> BitReader<'r, R> {
    pub(super) fn new(input: &'r mut ByteSource<R>) -> Self {
        Self { input, bits: 0, count: 0 }
    }

    /// Reads bytes until [`REFILLED`] bits are there, or the input ends.
    #[inline]
    pub(super) fn refill(&mut self) -> io::Result<()> {
        if self.count >= REFILLED {
            return Ok(());
        }
        let Some(eight) = self.input.ready().first_chunk() else { return self.refill_by_bytes() };
        let taken = (63 - self.count) / 8;
        self.bits |= (u64::from_le_bytes(*eight) & ((1 << (taken * 8)) - 1)) << self.count;
        self.count += taken * 8;
        self.input.consume(taken as usize);
        Ok(())
    }

    #[cold]
    fn refill_by_bytes(&mut self) -> io::Result<()> {
        while self.count < REFILLED {
            let bytes = self.input.fill()?;
            if bytes.is_empty() {
                return Ok(());
            }
            self.bits |= u64::from(bytes[0]) << self.count;
            self.count += 8;
            self.input.consume(1);
        }
        Ok(())
    }

    /// Returns the next bits without taking them, as [`peek`](Self::peek), of those that are in memory.
    #[inline]
    pub(super) fn peek_ready(&self, count: u32) -> u32 {
        (self.bits & ((1 << count) - 1)) as u32
    }

    /// Returns the next bits without taking them, at most 16; zeros follow the end.
    #[inline]
    pub(super) fn peek(&mut self, count: u32) -> io::Result<u32> {
        if self.count < count {
            self.refill()?;
        }
        Ok(self.peek_ready(count))
    }

    /// Drops bits that were peeked at.
    #[inline]
    pub(super) fn skip(&mut self, count: u32) -> io::Result<()> {
        if self.count < count {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.bits >>= count;
        self.count -= count;
        Ok(())
    }

    /// Takes bits, at most 16.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> io::Result<u32> {
        let bits = self.peek(count)?;
        self.skip(count)?;
        Ok(bits)
    }

    /// Takes the bits before the next whole byte.
    pub(super) fn padding(&mut self) -> io::Result<u8> {
        Ok(self.take(self.count % 8)? as u8)
    }

    /// Gives the whole bytes back that were not taken.
    pub(super) fn end(self) {
        self.input.unread(self.count as usize / 8);
    }
}

/// Writes bits.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    bits: u64,
    count: u32,
}

impl BitWriter {
    /// Appends bits, at most 32.
    #[inline]
    pub(super) fn put(&mut self, bits: u32, count: u32) {
        self.bits |= u64::from(bits) << self.count;
        self.count += count;
        if self.count >= 32 {
            self.bytes.extend_from_slice(&(self.bits as u32).to_le_bytes());
            self.bits >>= 32;
            self.count -= 32;
        }
    }

    /// Returns the number of bytes in memory, up to seven less than the whole bytes so far.
    #[inline]
    pub(super) fn ready_len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the whole bytes so far.
    pub(super) fn whole_bytes(&mut self) -> &mut Vec<u8> {
        while self.count >= 8 {
            self.bytes.push(self.bits as u8);
            self.bits >>= 8;
            self.count -= 8;
        }
        &mut self.bytes
    }

    /// Fills the last byte.
    pub(super) fn pad(&mut self, padding: u8) {
        let room = (8 - self.count % 8) % 8;
        self.put(u32::from(padding) & ((1 << room) - 1), room);
    }
}
