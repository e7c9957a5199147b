//! One thread of a scan, with the buffers it reuses.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;

use libcomposefs_content::mutex::lock;
use libcomposefs_image::tree::TreeBuilder;
use libcomposefs_sys::xattr::Target;
use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use crate::attributes::AttributeReader;
use crate::directory::{DirectoryUse, open_child};
use crate::error::{Error, Step};
use crate::hardlinks::HardLinks;
use crate::options::Options;
use crate::pending::PendingInodes;
use crate::queue::{EntryNames, Listed, ScanJob, ScanQueue};
use crate::stat::{InodeKey, InodeStat};
use libcomposefs_content::ContentSink;
use libcomposefs_content::Progress;

/// Size of the buffer for `getdents64`.
const DIRENTS_ROOM: usize = 32 << 10;
/// Number of bytes of names in one job.
const NAMES_ROOM: usize = 4 << 10;
/// With this many jobs waiting, a thread that lists a directory scans its entries before listing more.
const JOBS_ENOUGH: usize = 256;

/// The state that the threads of a scan share.
pub(crate) struct Scan<'a> {
    pub(crate) options: &'a Options,
    pub(crate) sink: &'a dyn ContentSink,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) queue: ScanQueue,
    pub(crate) builder: Mutex<TreeBuilder>,
    /// Set if several names of an inode become links.
    pub(crate) links: Option<Mutex<HardLinks>>,
    pub(crate) failure: Mutex<Option<Error>>,
}

impl Scan<'_> {
    /// Stops the scan. Of several errors the one with the smallest path is kept.
    fn fail(&self, error: Error) {
        let mut failure = lock(&self.failure);
        if failure.as_ref().is_none_or(|kept| error.path() < kept.path()) {
            *failure = Some(error);
        }
        drop(failure);
        self.queue.stop();
    }
}

pub(crate) struct Worker<'a> {
    pub(crate) scan: &'a Scan<'a>,
    pub(crate) pending: PendingInodes,
    /// Buffer for the content of a file.
    pub(crate) content: Vec<u8>,
    /// Buffer for a path.
    pub(crate) path: Vec<u8>,
    /// Buffer for the target of a symlink.
    pub(crate) target: Vec<u8>,
    pub(crate) attributes: AttributeReader,
    dirents: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(scan: &'a Scan<'a>) -> Self {
        Self {
            scan,
            pending: PendingInodes::default(),
            content: Vec::new(),
            path: Vec::new(),
            target: Vec::new(),
            attributes: AttributeReader::default(),
            dirents: Vec::with_capacity(DIRENTS_ROOM),
        }
    }

    /// Works until no job is left, or a thread fails.
    pub(crate) fn run(mut self) {
        self.scan.queue.work(|job| {
            let done = match job {
                ScanJob::Directory { parent, name, key } => self.enter(parent, name, key).and_then(|d| self.list(&d)),
                ScanJob::List(directory) => self.list(&directory),
                ScanJob::Entries(directory, names) => self.scan_entries(&directory, names),
            };
            if let Err(error) = done {
                self.scan.fail(error);
            }
        });
        // After a failure the pending inodes are not needed.
        if !self.scan.queue.is_stopped()
            && let Err(error) = self.flush()
        {
            self.scan.fail(error);
        }
    }

    /// Opens a directory and adds it to the tree. The parent is released as soon as possible: it may be one of
    /// thousands.
    fn enter(&mut self, parent: DirectoryUse, name: CString, key: Option<InodeKey>) -> Result<DirectoryUse, Error> {
        let failed = |step, source: std::io::Error| Error::Io { step, path: parent.path_of(name.to_bytes()), source };
        let changed = || Error::ChangedWhileReading { path: parent.path_of(name.to_bytes()) };
        let file = match open_child(parent.open()?.as_fd(), &name) {
            Ok(file) => file,
            Err(Errno::LOOP | Errno::NOTDIR | Errno::NOENT) => return Err(changed()),
            Err(errno) => return Err(failed(Step::Open, errno.into())),
        };
        let meta = InodeStat::of_file(file.as_fd()).map_err(|errno| failed(Step::Stat, errno.into()))?;
        if key.is_some_and(|key| key != meta.key()) {
            return Err(changed());
        }
        let range = self.read_xattrs(Target::File(file.as_fd())).map_err(|error| failed(Step::Xattrs, error))?;
        let mut xattrs = Vec::new();
        self.pending.xattrs(range, &mut xattrs);
        let mut inode = meta.inode(self.scan.options.mtime.apply(meta.mtime));
        inode.xattrs = &xattrs;
        let added = {
            let mut builder = lock(&self.scan.builder);
            builder.add(parent.id(), name.to_bytes(), &inode)
        };
        let id = added.map_err(|error| Error::from_tree(error, || parent.path_of(name.to_bytes())))?;
        Ok(parent.child(name, file, &meta, id))
    }

    /// Lists a directory, queueing its entries in portions and scanning the last portion itself.
    fn list(&mut self, directory: &DirectoryUse) -> Result<(), Error> {
        let open = directory.open()?;
        let mut dirents = std::mem::take(&mut self.dirents);
        let listed = self.list_into(directory, open.as_fd(), &mut dirents);
        self.dirents = dirents;
        self.scan_entries(directory, listed?)
    }

    fn list_into(
        &mut self,
        directory: &DirectoryUse,
        open: BorrowedFd<'_>,
        dirents: &mut Vec<u8>,
    ) -> Result<EntryNames, Error> {
        let mut names = EntryNames::new();
        let mut count = 0;
        let mut list = RawDir::new(open, dirents.spare_capacity_mut());
        while let Some(entry) = list.next() {
            let entry = entry.map_err(|errno| directory.error(Step::List, errno))?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let listed = match entry.file_type() {
                FileType::RegularFile => Listed::File,
                FileType::Directory => Listed::Directory,
                _ => Listed::Other,
            };
            names.push(entry.file_name(), listed);
            count += 1;
            if names.len() >= NAMES_ROOM {
                self.scan.progress.entries(std::mem::take(&mut count));
                let portion = std::mem::replace(&mut names, EntryNames::new());
                if self.scan.queue.len() < JOBS_ENOUGH {
                    self.scan.queue.push(ScanJob::Entries(directory.clone(), portion));
                } else {
                    self.scan_entries(directory, portion)?;
                }
                if self.scan.queue.is_stopped() {
                    return Ok(EntryNames::new());
                }
            }
        }
        self.scan.progress.entries(count);
        Ok(names)
    }

    fn scan_entries(&mut self, directory: &DirectoryUse, mut names: EntryNames) -> Result<(), Error> {
        if names.len() == 0 {
            return Ok(());
        }
        let open = directory.open()?;
        loop {
            if self.scan.queue.has_idle_thread()
                && let Some(half) = names.split()
            {
                self.scan.queue.push(ScanJob::Entries(directory.clone(), half));
            }
            if self.scan.queue.is_stopped() {
                return Ok(());
            }
            let Some((name, listed)) = names.next() else { return Ok(()) };
            self.scan_entry(directory, open.as_fd(), name, listed)?;
            if self.pending.is_full() {
                self.flush()?;
            }
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let scan = self.scan;
        self.pending.flush(scan.options.algorithm, scan.sink, &scan.builder, scan.links.as_ref())
    }
}
