//! Copying one file into another: shared extents, else a copy inside the kernel, else through a buffer.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{copy_file_range, ftruncate, ioctl_ficlone};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use crate::holes::{data_from, has_holes};

/// Number of bytes to read from a file at a time: large enough that calls cost little, small enough that the bytes are
/// still in the core's cache when they are hashed or written.
pub const READ_SIZE: usize = 256 << 10;

/// The result of trying one method of copying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// The copy is complete, with this number of bytes.
    Bytes(u64),
    /// This way is not open for these two files; nothing that counts was written.
    NotThisWay,
}

/// The result of trying to clone a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloned {
    /// The target shares all the extents of the source.
    Yes,
    /// These two files cannot share extents; others there may.
    NotThese,
    /// The file systems of the two cannot share extents.
    NotHere,
}

/// Makes `target`, an empty file, share all of `source`'s extents (`FICLONE`).
///
/// # Errors
///
/// What the `ioctl` gives, other than the numbers that mean it cannot be done here.
pub fn clone_file(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<Cloned> {
    match ioctl_ficlone(target, source) {
        Ok(()) => Ok(Cloned::Yes),
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV | Errno::NOSYS) => Ok(Cloned::NotHere),
        // EINVAL: without copy-on-write, for one; ETXTBSY: a swap file.
        Err(Errno::INVAL | Errno::BADF | Errno::PERM | Errno::TXTBSY | Errno::ISDIR) => Ok(Cloned::NotThese),
        Err(errno) => Err(errno.into()),
    }
}

/// `copy_file_range`, which remembers when the kernel says that it is of no use at all.
#[derive(Debug, Default)]
pub struct RangeCopier {
    off: AtomicBool,
}

impl RangeCopier {
    /// Copies all of `source` to the same offsets of `target`, an empty file. Holes are not copied and stay holes.
    /// `size` is what the source is expected to have: pseudo files answer with 0 bytes though they hold some.
    ///
    /// # Errors
    ///
    /// What `copy_file_range` gives, other than the numbers that mean it cannot be done for these files.
    pub fn copy(&self, source: BorrowedFd<'_>, target: BorrowedFd<'_>, size: u64) -> io::Result<Copied> {
        if self.off.load(Ordering::Relaxed) {
            return Ok(Copied::NotThisWay);
        }
        // A server that copies by reading and writing would fill the holes, so only the data between them is copied.
        let has_holes = has_holes(source);
        let mut done = 0u64;
        loop {
            let data = if has_holes { data_from(source, done) } else { done..u64::MAX };
            if data.is_empty() {
                ftruncate(target, data.end)?;
                return Ok(Copied::Bytes(data.end));
            }
            done = data.start;
            let (mut from, mut to) = (done, done);
            // A call moves 2 GiB at most; a smaller bound lets a signal end it.
            let len = usize::try_from(data.end - done).unwrap_or(usize::MAX).min(1 << 30);
            let answer = copy_file_range(source, Some(&mut from), target, Some(&mut to), len);
            match answer {
                Ok(0) if done == 0 && size > 0 => return Ok(Copied::NotThisWay),
                Ok(0) => return Ok(Copied::Bytes(done)),
                Ok(count) => done += count as u64,
                Err(Errno::INTR) => {}
                Err(Errno::NOSYS | Errno::XDEV) => {
                    self.off.store(true, Ordering::Relaxed);
                    return Ok(Copied::NotThisWay);
                }
                Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL | Errno::BADF) => return Ok(Copied::NotThisWay),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Reads `file` from its start, one `buffer` after the other, and shows each piece with its offset. Returns the number
/// of bytes.
///
/// # Errors
///
/// What `pread` gives, and what `show` returns.
pub fn read_all<E: From<io::Error>>(
    file: BorrowedFd<'_>,
    buffer: &mut [u8],
    mut show: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let mut offset = 0;
    loop {
        let len = fill(file, buffer, offset)?;
        if len == 0 {
            return Ok(offset);
        }
        show(offset, &buffer[..len])?;
        offset += len as u64;
    }
}

/// Reads at `offset` until the buffer is full or the file ends; returns how much there is.
///
/// # Errors
///
/// What `pread` gives.
pub fn fill(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match retry_on_intr(|| pread(file, &mut buffer[len..], offset + len as u64))? {
            0 => break,
            count => len += count,
        }
    }
    Ok(len)
}

/// Writes all of `data` at `offset`.
///
/// # Errors
///
/// What `pwrite` gives.
pub fn write_all_at(file: BorrowedFd<'_>, mut data: &[u8], mut offset: u64) -> io::Result<()> {
    while !data.is_empty() {
        let count = retry_on_intr(|| pwrite(file, data, offset))?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        data = &data[count..];
        offset += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_range_copy_is_whole() {
        let source = tempfile::tempfile().unwrap();
        let data: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        write_all_at(source.as_fd(), &data, 0).unwrap();
        let target = tempfile::tempfile().unwrap();
        let copied = RangeCopier::default().copy(source.as_fd(), target.as_fd(), 300_000).unwrap();
        assert_eq!(copied, Copied::Bytes(300_000));
        let mut back = Vec::new();
        let mut buffer = [0; 7000];
        let count = read_all(target.as_fd(), &mut buffer, |offset, piece| {
            assert_eq!(offset, back.len() as u64);
            back.extend_from_slice(piece);
            Ok::<_, io::Error>(())
        });
        assert_eq!(count.unwrap(), 300_000);
        assert!(back == data);
    }

    #[test]
    fn a_range_copy_keeps_holes() {
        for (size, places) in [(0, &[][..]), (1 << 30, &[]), (1 << 30, &[0]), (1 << 30, &[5 << 20, (1 << 30) - 1])] {
            let (source, target) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            source.set_len(size).unwrap();
            places.iter().for_each(|&place| write_all_at(source.as_fd(), b"x", place).unwrap());
            let copied = RangeCopier::default().copy(source.as_fd(), target.as_fd(), size).unwrap();
            assert_eq!(copied, Copied::Bytes(size));
            let (from, to) = (source.metadata().unwrap(), target.metadata().unwrap());
            assert_eq!(
                (to.len(), to.blocks() <= from.blocks() + 16),
                (size, true),
                "{places:?}: {} blocks",
                to.blocks()
            );
            for &place in places {
                let mut byte = [0];
                assert_eq!((fill(target.as_fd(), &mut byte, place).unwrap(), byte), (1, *b"x"));
            }
        }
    }

    #[test]
    fn files_that_cannot_be_copied_that_way_say_so() {
        let target = tempfile::tempfile().unwrap();
        let proc = std::fs::File::open("/proc/self/status").unwrap();
        let copier = RangeCopier::default();
        assert_eq!(copier.copy(proc.as_fd(), target.as_fd(), 1).unwrap(), Copied::NotThisWay);
        assert_ne!(clone_file(proc.as_fd(), target.as_fd()).unwrap(), Cloned::Yes);
    }
}
