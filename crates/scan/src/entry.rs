//! Scanning one entry of a directory.

use std::ffi::CStr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use libcomposefs_content::mutex::lock;
use libcomposefs_image::tree::Kind;
use libcomposefs_sys::xattr::{self, Target};
use rustix::fs::readlinkat_raw;
use rustix::io::Errno;

use crate::directory::DirectoryUse;
use crate::error::{Error, Step};
use crate::options::XattrChoice;
use crate::pending::{FoundData, FoundEntry};
use crate::queue::{Listed, ScanJob};
use crate::read_file;
use crate::stat::{InodeKey, InodeStat};
use crate::worker::Worker;

/// The kernel returns no longer targets (`PATH_MAX`); a spare byte shows that the target is complete.
const TARGET_ROOM: usize = 4097;

impl Worker<'_> {
    /// Scans an entry: a directory becomes a job, everything else a pending inode.
    pub(crate) fn scan_entry(
        &mut self,
        directory: &DirectoryUse,
        parent: BorrowedFd<'_>,
        name: &CStr,
        listed: Listed,
    ) -> Result<(), Error> {
        let failed =
            |step, errno: Errno| Error::Io { step, path: directory.path_of(name.to_bytes()), source: errno.into() };
        let changed = || Error::ChangedWhileReading { path: directory.path_of(name.to_bytes()) };
        let options = self.scan.options;
        // With hard links, the inode may have been read by another name already.
        if listed == Listed::File && !options.hardlinks && self.scan_file(directory, parent, name)? {
            return Ok(());
        }
        // Opening it next will show if it is still a directory.
        if listed == Listed::Directory {
            if !self.is_excluded(directory, name, true) {
                self.push_directory(directory, name, None);
            }
            return Ok(());
        }
        let meta = match InodeStat::of_entry(parent, name) {
            Ok(meta) => meta,
            // It was listed a moment ago.
            Err(Errno::NOENT) => return Err(changed()),
            Err(errno) => return Err(failed(Step::Stat, errno)),
        };
        let kind = meta.kind();
        if self.is_excluded(directory, name, kind == Some(Kind::Directory)) {
            return Ok(());
        }
        let link_key = match kind {
            Some(Kind::Directory) => {
                self.push_directory(directory, name, Some(meta.key()));
                return Ok(());
            }
            Some(Kind::CharDevice | Kind::BlockDevice) if options.skip_devices => return Ok(()),
            _ => (meta.nlink > 1 && options.hardlinks).then_some(meta.key()),
        };
        if let (Some(key), Some(links)) = (link_key, &self.scan.links)
            && !lock(links).first_seen(key, directory, name)
        {
            return Ok(());
        }
        let (data, xattrs) = match kind {
            Some(Kind::Regular) if meta.size > 0 => {
                let file = match read_file::open(parent, name) {
                    Ok(file) => file,
                    // A symlink, no entry, a socket: not what lstat returned.
                    Err(Errno::LOOP | Errno::NOENT | Errno::NXIO | Errno::NODEV) => return Err(changed()),
                    Err(errno) => return Err(failed(Step::Open, errno)),
                };
                self.read_file(directory, name, &file, &meta)?
            }
            Some(Kind::Regular) => {
                (FoundData::Inline { content: None, small: None }, self.entry_xattrs(directory, parent, name)?)
            }
            Some(Kind::Symlink) => {
                let target = self.read_link(parent, name).map_err(|errno| match errno {
                    Errno::INVAL | Errno::NOENT => changed(),
                    errno => failed(Step::ReadLink, errno),
                })?;
                (target, self.entry_xattrs(directory, parent, name)?)
            }
            _ => (FoundData::Special, self.entry_xattrs(directory, parent, name)?),
        };
        self.add(directory, name, &meta, data, xattrs, link_key);
        Ok(())
    }

    fn push_directory(&self, parent: &DirectoryUse, name: &CStr, key: Option<InodeKey>) {
        self.scan.queue.push(ScanJob::Directory { parent: parent.clone(), name: name.to_owned(), key });
    }

    /// Opens an entry that was listed as a file without a prior `lstat`. Returns false if it cannot be opened: then
    /// `lstat` reports the reason, or shows that the file need not be opened.
    fn scan_file(&mut self, directory: &DirectoryUse, parent: BorrowedFd<'_>, name: &CStr) -> Result<bool, Error> {
        if self.is_excluded(directory, name, false) {
            return Ok(true);
        }
        let Ok(file) = read_file::open(parent, name) else { return Ok(false) };
        let path = || directory.path_of(name.to_bytes());
        let meta = InodeStat::of_file(file.as_fd()).map_err(|errno| Error::Io {
            step: Step::Stat,
            path: path(),
            source: errno.into(),
        })?;
        if meta.kind() != Some(Kind::Regular) {
            return Err(Error::ChangedWhileReading { path: path() });
        }
        let (data, xattrs) = self.read_file(directory, name, &file, &meta)?;
        self.add(directory, name, &meta, data, xattrs, None);
        Ok(true)
    }

    /// Adds an entry to the pending inodes.
    fn add(
        &mut self,
        directory: &DirectoryUse,
        name: &CStr,
        meta: &InodeStat,
        data: FoundData,
        xattrs: Range<usize>,
        link_key: Option<InodeKey>,
    ) {
        if meta.kind() == Some(Kind::Regular) {
            self.scan.progress.bytes(meta.size);
        }
        let name = self.pending.keep(name.to_bytes());
        let mtime = self.scan.options.mtime.apply(meta.mtime);
        self.pending.add(directory, FoundEntry { name, meta: *meta, mtime, data, xattrs, link_key });
    }

    fn is_excluded(&mut self, directory: &DirectoryUse, name: &CStr, is_directory: bool) -> bool {
        let patterns = &self.scan.options.patterns;
        if patterns.is_empty() {
            return false;
        }
        directory.write_relative_path(&mut self.path);
        self.path.extend_from_slice(name.to_bytes());
        patterns.excludes(&self.path, is_directory)
    }

    fn read_link(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<FoundData> {
        self.target.resize(TARGET_ROOM, 0);
        let len = readlinkat_raw(parent, name, &mut self.target[..])?;
        Ok(FoundData::Symlink(self.pending.keep(&self.target[..len])))
    }

    /// Reads the attributes of an entry that is not open.
    fn entry_xattrs(
        &mut self,
        directory: &DirectoryUse,
        parent: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<Range<usize>, Error> {
        if self.scan.options.xattrs == XattrChoice::None {
            return Ok(0..0);
        }
        let mut path = std::mem::take(&mut self.path);
        xattr::entry_path(parent, name, &mut path);
        let target = CStr::from_bytes_with_nul(&path).expect("a path ends with its only NUL");
        let read = self.read_xattrs(Target::Path(target));
        self.path = path;
        read.map_err(|source| Error::Io { step: Step::Xattrs, path: directory.path_of(name.to_bytes()), source })
    }

    /// Reads the selected attributes into the pending inodes.
    pub(crate) fn read_xattrs(&mut self, target: Target<'_>) -> std::io::Result<Range<usize>> {
        self.attributes.read(self.scan.options.xattrs, target, &mut self.pending)
    }
}
