//! Reading one regular file, once.
//!
//! What fits into the thread's buffer is read whole before anybody is told of it; the size asked for is one byte more than
//! the file had, so that one call tells that it has not grown. Two looks at the metadata, before and after, must agree:
//! that finds most changes, but not all, as two writes within one tick of the clock look alike. Hence a sink that stores
//! must name what it has stored, not what the scan has seen.

use std::ffi::CStr;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use composefs_image::verity;
use composefs_sys::copy::fill;
use composefs_sys::xattr::Target;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, pread, retry_on_intr};

use crate::directory::DirectoryUse;
use crate::error::{Error, Step};
use crate::harvest::Data;
use crate::meta::Meta;
use crate::sink::SourceFile;
use crate::worker::Worker;

/// Larger files are read in pieces of this many bytes.
pub(crate) const WHOLE_MAX: usize = 1 << 20;

/// A FIFO or device that has taken the place of the file must not make the open wait, or be a terminal of ours.
const OPEN: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

impl Worker<'_> {
    /// Reads a file that is not empty; returns what it holds and its attributes.
    pub(crate) fn read_file(
        &mut self,
        directory: &DirectoryUse,
        parent: BorrowedFd<'_>,
        name: &CStr,
        meta: &Meta,
    ) -> Result<(Data, Range<usize>), Error> {
        let failed =
            |step, errno: io::Error| Error::Io { step, path: directory.path_of(name.to_bytes()), source: errno };
        let changed = || Error::ChangedWhileReading { path: directory.path_of(name.to_bytes()) };
        let file = match openat(parent, name, OPEN, Mode::empty()) {
            Ok(file) => file,
            // A symlink, nothing, a socket: not what lstat saw.
            Err(Errno::LOOP | Errno::NOENT | Errno::NXIO | Errno::NODEV) => return Err(changed()),
            Err(errno) => return Err(failed(Step::Open, errno.into())),
        };
        let (data, xattrs) = if meta.size <= WHOLE_MAX as u64 {
            let len = meta.size as usize;
            let read = self.read_whole(&file, len);
            let xattrs = self.read_xattrs(Target::File(file.as_fd()));
            // First of all whether it is the same file: if not, no error of another one is of interest.
            if !Meta::of_file(file.as_fd()).is_ok_and(|now| meta.is_unchanged(&now)) {
                return Err(changed());
            }
            if read.map_err(|e| failed(Step::Read, e))? != len {
                return Err(changed());
            }
            let data = self
                .take_whole(&file, meta, len)
                .map_err(|source| Error::Sink { path: directory.path_of(name.to_bytes()), source })?;
            (data, xattrs)
        } else {
            let unchanged = || Meta::of_file(file.as_fd()).is_ok_and(|now| meta.is_unchanged(&now));
            if !unchanged() {
                return Err(changed());
            }
            let taken = self.take_pieces(&file, meta);
            let xattrs = self.read_xattrs(Target::File(file.as_fd()));
            if !unchanged() {
                return Err(changed());
            }
            let path = || directory.path_of(name.to_bytes());
            (taken.map_err(|source| Error::Sink { path: path(), source })?, xattrs)
        };
        Ok((data, xattrs.map_err(|e| failed(Step::Xattrs, e))?))
    }

    /// Reads up to `len + 1` bytes into the buffer; returns how many there are.
    fn read_whole(&mut self, file: &OwnedFd, len: usize) -> io::Result<usize> {
        if self.content.len() <= len {
            self.content.resize((len + 1).next_power_of_two().min(WHOLE_MAX + 1), 0);
        }
        let buffer = &mut self.content[..=len];
        let read = retry_on_intr(|| pread(file, &mut *buffer, 0))?;
        if read >= len {
            return Ok(read);
        }
        // The end, or a short read as network file systems give them.
        Ok(read + fill(file.as_fd(), &mut buffer[read..], read as u64)?)
    }

    fn take_whole(&mut self, file: &OwnedFd, meta: &Meta, len: usize) -> Result<Data, crate::sink::SinkError> {
        let content = &self.content[..len];
        let options = self.scan.options;
        if meta.size <= options.inline_max {
            let digest = options.digest_inline.then(|| verity::digest(options.algorithm, content));
            return Ok(Data::Inline { content: Some(self.harvest.keep(content)), digest });
        }
        let source = SourceFile { file: file.as_fd(), device: meta.device, size: meta.size };
        self.scan.sink.take_bytes(content, &source).map(Data::Object)
    }

    fn take_pieces(&mut self, file: &OwnedFd, meta: &Meta) -> Result<Data, crate::sink::SinkError> {
        self.content.resize(WHOLE_MAX + 1, 0);
        let source = SourceFile { file: file.as_fd(), device: meta.device, size: meta.size };
        self.scan.sink.take_file(&source, &mut self.content[..WHOLE_MAX]).map(Data::Object)
    }
}
