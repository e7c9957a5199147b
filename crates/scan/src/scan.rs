//! The scan itself: its steps in order.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;

use libcomposefs_content::mutex::into_inner;
use libcomposefs_image::threads::with_helpers;
use libcomposefs_image::tree::{Tree, TreeBuilder};
use libcomposefs_sys::limits::open_files_max;
use libcomposefs_sys::xattr::Target;
use rustix::fs::{CWD, FileType};
use rustix::io::Errno;

use crate::attributes::AttributeReader;
use crate::directory::{Budget, DirectoryUse, open_root, open_root_followed};
use crate::error::{Error, Step};
use crate::hardlinks::HardLinks;
use crate::options::Options;
use crate::pending::PendingInodes;
use crate::queue::{ScanJob, ScanQueue};
use crate::stat::InodeStat;
use crate::worker::{Scan, Worker};
use libcomposefs_content::ContentSink;
use libcomposefs_content::Progress;

/// Reads the tree below `root` with all its contents.
///
/// `root` itself must be a directory, or with [`Options::follow_root`] a symlink to one. Mount points below it are
/// crossed. The tree is the same for any number of threads and any order in which the file system lists names.
///
/// # Errors
///
/// The first error ends the scan; see [`Error`].
pub fn scan(root: &Path, options: &Options, sink: &dyn ContentSink, progress: &dyn Progress) -> Result<Tree, Error> {
    let failed = |step, errno: Errno| Error::Io { step, path: root.to_owned(), source: errno.into() };
    let name = CString::new(root.as_os_str().as_bytes()).map_err(|_| failed(Step::Open, Errno::INVAL))?;
    let (file, meta) = open_source(root, &name, options.follow_root)?;
    let builder = begin_tree(root, options, &file, &meta)?;
    let scan = Scan {
        options,
        sink,
        progress,
        queue: ScanQueue::default(),
        builder: Mutex::new(builder),
        links: options.hardlinks.then(Mutex::default),
        failure: Mutex::new(None),
    };
    // Lives until the end: closed directories are opened again from here.
    let root = DirectoryUse::root(name, file, &meta, &Budget::new(open_directories_max()));
    scan.queue.push(ScanJob::List(root.clone()));
    progress.entries(1);
    run_threads(&scan);
    if let Some(error) = into_inner(scan.failure) {
        return Err(error);
    }
    let mut builder = into_inner(scan.builder);
    Ok(match scan.links {
        Some(links) => {
            let links: HardLinks = into_inner(links);
            links.add_to(&mut builder)?;
            builder.finish_with_counted_links()
        }
        None => builder.finish(),
    })
}

fn open_source(root: &Path, name: &CString, follow: bool) -> Result<(OwnedFd, InodeStat), Error> {
    let failed = |step, errno: Errno| Error::Io { step, path: root.to_owned(), source: errno.into() };
    if follow {
        let file = open_root_followed(root).map_err(|errno| failed(Step::Open, errno))?;
        let meta = InodeStat::of_file(file.as_fd()).map_err(|errno| failed(Step::Stat, errno))?;
        return Ok((file, meta));
    }
    let before = InodeStat::of_entry(CWD, name).map_err(|errno| failed(Step::Stat, errno))?;
    if FileType::from_raw_mode(before.mode) != FileType::Directory {
        return Err(failed(Step::Open, Errno::NOTDIR));
    }
    let file = open_root(root).map_err(|errno| failed(Step::Open, errno))?;
    let meta = InodeStat::of_file(file.as_fd()).map_err(|errno| failed(Step::Stat, errno))?;
    if !meta.is_same_inode(&before) {
        return Err(Error::ChangedWhileReading { path: root.to_owned() });
    }
    Ok((file, meta))
}

/// Creates a tree with only the root.
fn begin_tree(root: &Path, options: &Options, file: &OwnedFd, meta: &InodeStat) -> Result<TreeBuilder, Error> {
    let mut pending = PendingInodes::default();
    let range = AttributeReader::default()
        .read(options.xattrs, Target::File(file.as_fd()), &mut pending)
        .map_err(|source| Error::Io { step: Step::Xattrs, path: root.to_owned(), source })?;
    let mut xattrs = Vec::new();
    pending.xattrs(range, &mut xattrs);
    let mut inode = meta.inode(options.mtime.apply(meta.mtime));
    inode.xattrs = &xattrs;
    TreeBuilder::new(options.algorithm, &inode).map_err(|source| Error::Tree { path: root.to_owned(), source })
}

fn run_threads(scan: &Scan<'_>) {
    let work = || Worker::new(scan).run();
    with_helpers(scan.options.thread_count(), work, work);
}

/// Returns the limit of open directories: a part of the limit of open files, as the sink opens files too.
fn open_directories_max() -> usize {
    (open_files_max() / 4).clamp(4, 1024)
}
