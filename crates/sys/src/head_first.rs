//! Reads a file whose first bytes determine its length: first those, and then no more than that length.
//!
//! An untrusted file may have a hole of terabytes after its last byte, or be a pipe that never ends. Memory grows with
//! the length in the head, the length of the file, and the bytes that arrive, whichever is least.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use rustix::io::{Errno, pread};

/// The bytes that were read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// As much as the head says, or all there is.
    pub bytes: Vec<u8>,
    /// Bytes read beyond the length, possibly not all of them: either the caller had read them before, or they show
    /// that the file continues.
    pub excess: Vec<u8>,
}

/// Reads the first `head` bytes and asks `says` how long the file is by them; then the rest of that many bytes. `None`,
/// or less than the head: no more than the head is wanted.
///
/// `bytes` are those that were read before. `len` is how many bytes `input` still has, if that is known. If it is not,
/// a byte more is read where `says` has an answer, to see that there is more.
///
/// # Errors
///
/// What reading gives; `OutOfMemory`.
pub fn read(
    input: &mut impl Read,
    mut bytes: Vec<u8>,
    len: Option<u64>,
    head: usize,
    says: impl FnOnce(&[u8]) -> Option<u64>,
) -> io::Result<Beginning> {
    let has = len.map(|len| len.saturating_add(bytes.len() as u64));
    fill(input, &mut bytes, head as u64, has)?;
    if bytes.len() < head {
        return Ok(Beginning { bytes, excess: Vec::new() });
    }
    let said = says(&bytes[..head]);
    let wanted = said.unwrap_or_default().max(head as u64);
    fill(input, &mut bytes, wanted, has)?;
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let mut excess = if bytes.len() > wanted { bytes.split_off(wanted) } else { Vec::new() };
    if said.is_some() && has.is_none() && excess.is_empty() && bytes.len() == wanted {
        fill(input, &mut excess, 1, None)?;
    }
    Ok(Beginning { bytes, excess })
}

/// Reads until there are `wanted` bytes, or no more.
fn fill(input: &mut impl Read, bytes: &mut Vec<u8>, wanted: u64, has: Option<u64>) -> io::Result<()> {
    let missing = wanted.saturating_sub(bytes.len() as u64);
    if let Some(has) = has {
        // At once and exactly, for what is known to be there. Of a pipe memory grows with what comes.
        let there = usize::try_from(wanted.min(has)).unwrap_or(usize::MAX);
        bytes.try_reserve_exact(there.saturating_sub(bytes.len()))?;
    }
    input.take(missing).read_to_end(bytes).map(drop)
}

/// A file from an offset on, whatever its own offset is.
#[derive(Debug)]
pub struct At<'a> {
    file: BorrowedFd<'a>,
    offset: u64,
}

impl<'a> At<'a> {
    /// The file from `offset` on.
    #[must_use]
    pub fn new(file: BorrowedFd<'a>, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match pread(self.file, &mut *buffer, self.offset) {
                Ok(len) => {
                    self.offset += len as u64;
                    return Ok(len);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts what is read of it, and never ends.
    struct Endless(u64);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += buffer.len() as u64;
            buffer.fill(7);
            Ok(buffer.len())
        }
    }

    #[test]
    fn no_more_is_read_than_the_head_says() {
        for (said, len, expected, more) in
            [(Some(100), None, 100, 1), (Some(100), Some(1 << 40), 100, 0), (None, None, 8, 0), (Some(3), None, 8, 1)]
        {
            let mut input = Endless(0);
            let read = read(&mut input, Vec::new(), len, 8, |head| {
                assert_eq!(head, [7; 8]);
                said
            });
            let read = read.unwrap();
            assert_eq!((read.bytes.len(), read.excess.len()), (expected, more), "{said:?} {len:?}");
            assert_eq!(input.0, (expected + more) as u64);
        }
    }

    #[test]
    fn no_more_is_taken_than_is_there() {
        let file: Vec<u8> = (0..50).collect();
        for known in [None, Some(50)] {
            let read = |already: usize, said| {
                let (bytes, mut rest) = (file[..already].to_vec(), &file[already..]);
                let len = known.map(|len: u64| len - already as u64);
                read(&mut rest, bytes, len, 8, |_| Some(said)).unwrap()
            };
            let whole = Beginning { bytes: file.clone(), excess: Vec::new() };
            for already in [0, 5, 8, 30, 50] {
                assert_eq!(read(already, 50), whole);
                // Nothing is reserved for what is said and not there.
                assert_eq!(read(already, u64::MAX), whole);
                assert!(read(already, u64::MAX).bytes.capacity() < 1000);
                let part = read(already, 20);
                assert_eq!(part.bytes, file[..20]);
                assert!(file[20..].starts_with(&part.excess));
            }
        }
        let short = read(&mut &file[..7], Vec::new(), None, 8, |_| unreachable!()).unwrap();
        assert_eq!(short.bytes, file[..7]);
    }
}
