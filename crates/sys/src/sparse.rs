//! Reads files without their holes, and writes files with holes in place of zeros.
//!
//! File systems without `SEEK_DATA`, pipes and archives deliver zeros; those are recognized and not written.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::ftruncate;

use crate::copy::{fill, write_all_at};
use crate::holes::hole_end;

/// The shortest hole that is made, and its alignment: the block size of nearly all file systems.
const BLOCK: u64 = 4096;

/// A part of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch<'b> {
    /// These bytes, which may hold zeros too. No bytes at all mean the end of the file.
    Bytes(&'b [u8]),
    /// A number of zeros.
    Zeros(u64),
}

/// Returns true if all bytes are zero. The first bytes decide for nearly all data; the rest is compared by vectors.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(64).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Reads `file` from its start and shows each part with its offset. Holes are not read. Returns the number of bytes.
///
/// The kernel is asked for a hole only behind zeros, so this costs nothing for a file without holes.
///
/// # Errors
///
/// What `pread` gives, and what `show` returns.
pub fn read_sparse<E: From<io::Error>>(
    file: BorrowedFd<'_>,
    buffer: &mut [u8],
    mut show: impl FnMut(u64, Stretch<'_>) -> Result<(), E>,
) -> Result<u64, E> {
    let mut offset = 0;
    loop {
        let len = fill(file, buffer, offset)?;
        if len == 0 {
            return Ok(offset);
        }
        let mut end = offset + len as u64;
        if is_zero(&buffer[..len]) {
            end = hole_end(file, end).unwrap_or(end);
            show(offset, Stretch::Zeros(end - offset))?;
        } else {
            show(offset, Stretch::Bytes(&buffer[..len]))?;
        }
        offset = end;
    }
}

/// The hole of a file that was found last, for threads that read the file in pieces.
#[derive(Debug, Default)]
pub struct Holes {
    last: Mutex<Range<u64>>,
}

impl Holes {
    /// Reads at `offset` until the buffer is full or the file ends, as [`fill`] does, but does not read what is known
    /// to be in a hole.
    ///
    /// # Errors
    ///
    /// What `pread` gives.
    pub fn fill<'b>(&self, file: BorrowedFd<'_>, buffer: &'b mut [u8], offset: u64) -> io::Result<Stretch<'b>> {
        let end = offset + buffer.len() as u64;
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last().clone();
        if known.start <= offset && end <= known.end {
            return Ok(Stretch::Zeros(end - offset));
        }
        let len = fill(file, buffer, offset)?;
        if len == 0 || !is_zero(&buffer[..len]) {
            return Ok(Stretch::Bytes(&buffer[..len]));
        }
        let end = offset + len as u64;
        if !known.contains(&end)
            && let Some(hole_end) = hole_end(file, end)
        {
            *last() = end..hole_end;
        }
        Ok(Stretch::Zeros(len as u64))
    }
}

/// Writes `piece` to a file that has nothing at `offset` yet, but does not write blocks of zeros. Returns the end of
/// the last byte that was written, if any was.
///
/// # Errors
///
/// What `pwrite` gives.
pub fn write_sparse(file: BorrowedFd<'_>, piece: &[u8], offset: u64) -> io::Result<Option<u64>> {
    let mut end = None;
    let mut write = |range: Range<usize>| {
        if !range.is_empty() {
            end = Some(offset + range.end as u64);
            write_all_at(file, &piece[range.clone()], offset + range.start as u64)?;
        }
        Ok::<_, io::Error>(())
    };
    let (mut start, mut at) = (0, 0);
    while at < piece.len() {
        let to_boundary = BLOCK - (offset + at as u64) % BLOCK;
        let next = piece.len().min(at + to_boundary as usize);
        if is_zero(&piece[at..next]) {
            write(start..at)?;
            start = next;
        }
        at = next;
    }
    write(start..at)?;
    Ok(end)
}

/// Writes an empty file from its start to its end, with holes in place of zeros.
#[derive(Debug)]
pub struct SparseWriter<'f> {
    file: BorrowedFd<'f>,
    len: u64,
    written: u64,
    /// A piece was not written, so that nothing that follows has its place.
    is_broken: bool,
}

impl<'f> SparseWriter<'f> {
    /// Writes to this file, which is empty.
    #[must_use]
    pub fn new(file: BorrowedFd<'f>) -> Self {
        Self { file, len: 0, written: 0, is_broken: false }
    }

    /// Appends this many zeros.
    pub fn skip(&mut self, len: u64) {
        self.len += len;
    }

    /// Gives the file its length, which is returned. Without this call a hole at the end is missing.
    ///
    /// # Errors
    ///
    /// What `ftruncate` gives, and if a write has failed.
    pub fn finish(self) -> io::Result<u64> {
        if self.is_broken {
            return Err(io::Error::other("a write before has failed"));
        }
        if self.written < self.len {
            ftruncate(self.file, self.len)?;
        }
        Ok(self.len)
    }
}

impl io::Write for SparseWriter<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.is_broken {
            return Err(io::Error::other("a write before has failed"));
        }
        match write_sparse(self.file, piece, self.len) {
            Ok(end) => self.written = end.unwrap_or(self.written),
            Err(error) => {
                self.is_broken = true;
                return Err(error);
            }
        }
        self.len += piece.len() as u64;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileExt, MetadataExt};

    /// 1 MiB of zeros with `x` at these offsets.
    fn content(places: &[usize]) -> Vec<u8> {
        let mut content = vec![0; 1 << 20];
        places.iter().for_each(|&place| content[place] = b'x');
        content
    }

    fn written(mut file: &File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn one_byte_is_enough_to_be_no_zeros() {
        for len in [1, 63, 64, 65, 4096] {
            assert!(is_zero(&vec![0; len]));
            for place in [0, len / 2, len - 1] {
                let mut bytes = vec![0; len];
                bytes[place] = 1;
                assert!(!is_zero(&bytes), "{place} of {len}");
            }
        }
        assert!(is_zero(&[]));
    }

    #[test]
    fn zeros_become_holes_however_they_are_cut() {
        for places in [&[][..], &[0], &[4095], &[4096], &[70_000, 900_000], &[(1 << 20) - 1]] {
            let content = content(places);
            for cut in [1000, 4096, 65_536, 65_537, 1 << 20] {
                let file = tempfile::tempfile().unwrap();
                let mut writer = SparseWriter::new(file.as_fd());
                content.chunks(cut).for_each(|piece| writer.write_all(piece).unwrap());
                assert_eq!(writer.finish().unwrap(), 1 << 20);
                assert!(written(&file) == content, "{places:?} by {cut}");
                let blocks = file.metadata().unwrap().blocks();
                assert!(blocks <= 8 * places.len() as u64, "{places:?} by {cut}: {blocks} blocks");
            }
        }
        // What holds no zeros takes what it takes.
        let file = tempfile::tempfile().unwrap();
        let mut writer = SparseWriter::new(file.as_fd());
        writer.write_all(&[1; 1 << 20]).unwrap();
        writer.finish().unwrap();
        assert!(file.metadata().unwrap().blocks() >= 2048);
    }

    /// Reads a file and returns what the reader showed, joined, and the number of bytes that were read.
    fn shown(file: &File, buffer: usize) -> (Vec<u8>, usize) {
        let (mut bytes, mut read) = (Vec::new(), 0);
        let len = read_sparse(file.as_fd(), &mut vec![0; buffer], |offset, stretch| {
            assert_eq!(offset, bytes.len() as u64);
            match stretch {
                Stretch::Bytes(piece) => {
                    bytes.extend_from_slice(piece);
                    read += piece.len();
                }
                Stretch::Zeros(len) => bytes.resize(bytes.len() + len as usize, 0),
            }
            Ok::<_, io::Error>(())
        });
        assert_eq!(len.unwrap(), bytes.len() as u64);
        (bytes, read)
    }

    #[test]
    fn what_is_read_is_the_content_with_and_without_holes() {
        for places in [&[][..], &[0], &[70_000, 900_000], &[(1 << 20) - 1]] {
            let content = content(places);
            let (sparse, full) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            sparse.set_len(1 << 20).unwrap();
            places.iter().for_each(|&place| sparse.write_all_at(b"x", place as u64).unwrap());
            full.write_all_at(&content, 0).unwrap();
            for file in [&sparse, &full] {
                for buffer in [4096, 5000, 65_536] {
                    let (bytes, read) = shown(file, buffer);
                    assert!(bytes == content, "{places:?} by {buffer}");
                    assert!(read <= places.len() * buffer, "{places:?} by {buffer}: {read}");
                }
                let (holes, mut buffer, mut bytes) = (Holes::default(), vec![0; 65_536], Vec::new());
                loop {
                    match holes.fill(file.as_fd(), &mut buffer, bytes.len() as u64).unwrap() {
                        Stretch::Bytes([]) => break,
                        Stretch::Bytes(piece) => bytes.extend_from_slice(piece),
                        Stretch::Zeros(len) => bytes.resize(bytes.len() + len as usize, 0),
                    }
                }
                assert!(bytes == content, "{places:?}");
            }
        }
    }

    #[test]
    fn a_hole_of_a_terabyte_is_not_read() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        file.write_all_at(b"x", (1 << 40) - 1).unwrap();
        let mut parts = 0;
        let len = read_sparse(file.as_fd(), &mut [0; 4096], |_, _| {
            parts += 1;
            Ok::<_, io::Error>(())
        });
        assert_eq!((len.unwrap(), parts), (1 << 40, 2));
    }
}
