//! A buffered input of which a few bytes can be given back.

use std::io::{self, Read};

/// Size of the buffer, in bytes.
const BUFFER: usize = 64 << 10;
/// Number of bytes that can be given back.
const UNREAD_MAX: usize = 8;

/// Reads bytes, one or several at once.
#[derive(Debug)]
pub struct ByteSource<R> {
    input: R,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
}

impl<R: Read> ByteSource<R> {
    /// Begins to read.
    pub fn new(input: R) -> Self {
        Self { input, buffer: vec![0; BUFFER], at: 0, end: 0 }
    }

    /// Returns the bytes that are in memory; none only at the end of the input.
    ///
    /// # Errors
    ///
    /// If the input fails.
    pub fn fill(&mut self) -> io::Result<&[u8]> {
        if self.at == self.end {
            let kept = self.at.min(UNREAD_MAX);
            self.buffer.copy_within(self.at - kept..self.at, 0);
            (self.at, self.end) = (kept, kept);
            while self.at == self.end {
                match self.input.read(&mut self.buffer[kept..]) {
                    Ok(0) => break,
                    Ok(len) => self.end += len,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(&self.buffer[self.at..self.end])
    }

    /// Returns the bytes that are in memory, which may be none, without reading.
    #[inline]
    pub fn ready(&self) -> &[u8] {
        self.buffer.get(self.at..self.end).unwrap_or_default()
    }

    /// Passes over bytes that [`fill`](Self::fill) has returned.
    #[inline]
    pub fn consume(&mut self, len: usize) {
        self.at = (self.at + len).min(self.end);
    }

    /// Gives the last bytes back, at most 8.
    pub fn unread(&mut self, len: usize) {
        self.at -= len.min(self.at);
    }

    /// Returns the input, of which the bytes in memory were read.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// Returns the input.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// Returns true at the end of the input.
    ///
    /// # Errors
    ///
    /// If the input fails.
    pub fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.fill()?.is_empty())
    }
}

impl<R: Read> Read for ByteSource<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill()?;
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        self.consume(len);
        Ok(len)
    }
}
