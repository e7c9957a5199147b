//! Reading one regular file, once.
//!
//! Small contents are buffered and hashed together; others are hashed at once, whole or piece by piece as the sink
//! requests. A read of the whole file asks for one byte more than its size, so that one call shows that it has not
//! grown. The metadata before and after must agree. That detects most changes, but not all, as two writes within one
//! tick of the clock look alike. Hence a sink that stores must return the digest of the bytes it has stored, not of
//! those the scan has read.

use std::ffi::CStr;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libcomposefs_sys::copy::fill;
use libcomposefs_sys::xattr::Target;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{pread, retry_on_intr};

use crate::directory::DirectoryUse;
use crate::error::{Error, Step};
use crate::pending::FoundData;
use crate::small_files::SMALL_MAX;
use crate::stat::InodeStat;
use crate::worker::Worker;
use libcomposefs_content::SourceFile;

/// Size of a read if a file is not read whole: as many blocks as a hash kernel takes at once, and few enough that the
/// piece, the page cache and the blocks to be hashed fit into a core's own cache together (measured: 3 % less CPU
/// time for a tree than with 64 KiB).
const CACHED_READ_SIZE: usize = 128 << 10;

/// A FIFO or device that has taken the place of the file must neither block the open nor become our terminal.
const OPEN: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens a file for reading, not following a symlink.
pub(crate) fn open(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    openat(parent, name, OPEN, Mode::empty())
}

impl Worker<'_> {
    /// Reads an open file, which had this metadata before. Returns its content and attributes.
    pub(crate) fn read_file(
        &mut self,
        directory: &DirectoryUse,
        name: &CStr,
        file: &OwnedFd,
        meta: &InodeStat,
    ) -> Result<(FoundData, Range<usize>), Error> {
        let failed =
            |step, errno: io::Error| Error::Io { step, path: directory.path_of(name.to_bytes()), source: errno };
        let changed = || Error::ChangedWhileReading { path: directory.path_of(name.to_bytes()) };
        let path = || directory.path_of(name.to_bytes());
        let is_unchanged = || InodeStat::of_file(file.as_fd()).is_ok_and(|now| meta.is_unchanged(&now));
        if meta.size == 0 {
            let xattrs = self.read_xattrs(Target::File(file.as_fd())).map_err(|e| failed(Step::Xattrs, e))?;
            return if is_unchanged() {
                Ok((FoundData::Inline { content: None, small: None }, xattrs))
            } else {
                Err(changed())
            };
        }
        let small = usize::try_from(meta.size).ok().filter(|&len| len <= SMALL_MAX);
        let whole = usize::try_from(meta.size).ok().filter(|&len| len <= self.scan.sink.whole_max());
        let source = SourceFile { file: file.as_fd(), device: meta.device, size: meta.size, changed: meta.ctime };
        let (data, xattrs) = if let Some(len) = small.or(whole) {
            let read = match small {
                Some(len) => read_whole(file, self.pending.contents.room(len)),
                None => read_whole(file, sized(&mut self.content, len + 1)),
            };
            let xattrs = self.read_xattrs(Target::File(file.as_fd()));
            // Check the file first: if it was replaced, errors of reading the other one do not matter.
            if !is_unchanged() || read.map_err(|e| failed(Step::Read, e))? != len {
                return Err(changed());
            }
            let data = match small {
                Some(len) => Ok(self.keep_small(len)),
                None => self.scan.sink.take_bytes(&self.content[..len], &source).map(FoundData::Object),
            };
            (data, xattrs)
        } else {
            if !is_unchanged() {
                return Err(changed());
            }
            let taken = self.scan.sink.take_file(&source, sized(&mut self.content, CACHED_READ_SIZE));
            let xattrs = self.read_xattrs(Target::File(file.as_fd()));
            if !is_unchanged() {
                return Err(changed());
            }
            (taken.map(FoundData::Object), xattrs)
        };
        let data = data.map_err(|source| Error::Sink { path: path(), source })?;
        Ok((data, xattrs.map_err(|e| failed(Step::Xattrs, e))?))
    }

    /// Keeps the small content that was read inline, to be hashed, or both.
    fn keep_small(&mut self, len: usize) -> FoundData {
        let options = self.scan.options;
        let inline = len as u64 <= options.inline_max;
        let content = inline.then(|| {
            let start = self.pending.bytes.len();
            self.pending.bytes.extend_from_slice(&self.pending.contents.room(len)[..len]);
            start..self.pending.bytes.len()
        });
        let small = (!inline || options.digest_inline).then(|| self.pending.contents.keep(len));
        match (content, small) {
            (None, Some(small)) => FoundData::Small(small),
            (content, small) => FoundData::Inline { content, small },
        }
    }
}

/// Returns the first `len` bytes of a buffer, growing it if necessary.
fn sized(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len.next_power_of_two(), 0);
    }
    &mut buffer[..len]
}

/// Fills `room`, which is one byte longer than the expected size of the file. Returns the number of bytes read.
fn read_whole(file: &OwnedFd, room: &mut [u8]) -> io::Result<usize> {
    let read = retry_on_intr(|| pread(file, &mut *room, 0))?;
    if read + 1 >= room.len() {
        return Ok(read);
    }
    // The end of the file, or a short read as on network file systems.
    Ok(read + fill(file.as_fd(), &mut room[read..], read as u64)?)
}
