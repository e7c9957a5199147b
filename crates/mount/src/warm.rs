//! Reading the contents of a mounted image ahead, before programs open its files.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use libcomposefs_sys::readahead::read_ahead;
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

/// Number of threads: opening a file waits for the disk, which answers several requests at once.
const THREADS: usize = 8;
/// Number of files that a thread takes at once, and of such parts that wait.
const PART: usize = 32;
const WAITING: usize = 64;

/// What [`warm`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmedFiles {
    /// The number of files whose contents the kernel was asked to read.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// The number of files and directories that could not be opened, such as files whose content is damaged.
    pub failed: u64,
}

/// Has the kernel begin to read the files below a directory into the page cache, in the order of the directories, by
/// several threads. Does not wait for contents, and reads none of them.
///
/// It ends when the files have `limit` bytes together. Other file systems mounted below the directory are left out.
///
/// # Errors
///
/// What prevents the start of threads. Directories and files that cannot be opened are counted.
pub fn warm(directory: impl AsFd, limit: u64) -> io::Result<WarmedFiles> {
    let directory = directory.as_fd();
    warm_parts_of(directory, limit, |sender, counts| list(directory, sender, limit, counts))
}

/// Like [`warm`], for the files with these paths, from `/`, in their order.
///
/// # Errors
///
/// As [`warm`].
pub fn warm_files(directory: impl AsFd, paths: &[Vec<u8>], limit: u64) -> io::Result<WarmedFiles> {
    warm_parts_of(directory.as_fd(), limit, |sender, counts| {
        for part in paths.chunks(PART) {
            let part =
                part.iter().map(|path| path.iter().copied().skip_while(|byte| *byte == b'/').collect()).collect();
            if counts.is_full(limit) || sender.send(part).is_err() {
                return;
            }
        }
    })
}

/// Reads ahead the files in the parts that `send` makes.
fn warm_parts_of(
    directory: BorrowedFd<'_>,
    limit: u64,
    send: impl FnOnce(&SyncSender<FileParts>, &WarmCounts),
) -> io::Result<WarmedFiles> {
    let counts = WarmCounts::default();
    let (sender, receiver) = sync_channel(WAITING);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        // Without it the threads have nothing to wait for.
        let sender = sender;
        for _ in 0..THREADS {
            let (receiver, counts) = (&receiver, &counts);
            thread::Builder::new().spawn_scoped(scope, move || warm_parts(directory, receiver, limit, counts))?;
        }
        send(&sender, &counts);
        Ok::<_, io::Error>(())
    })?;
    Ok(counts.into())
}

/// Returns half of the memory that programs could use now, as a limit for [`warm`]: what is read beyond it would drive
/// other contents out of the page cache. `None` if /proc/meminfo cannot be read.
#[must_use]
pub fn half_of_available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024 / 2)
}

/// Paths of some files, below the directory.
type FileParts = Vec<Vec<u8>>;

#[derive(Default)]
struct WarmCounts {
    files: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
}

impl WarmCounts {
    fn is_full(&self, limit: u64) -> bool {
        self.bytes.load(Ordering::Relaxed) >= limit
    }
}

impl From<WarmCounts> for WarmedFiles {
    fn from(counts: WarmCounts) -> Self {
        Self { files: counts.files.into_inner(), bytes: counts.bytes.into_inner(), failed: counts.failed.into_inner() }
    }
}

/// Opens a path below the directory, on the same file system, without following symlinks.
fn open(directory: impl AsFd, path: &[u8], flags: OFlags) -> rustix::io::Result<rustix::fd::OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    openat2(directory, path, flags, Mode::empty(), resolve)
}

/// Lists the files below the directory, and sends their paths in parts.
fn list(directory: impl AsFd, sender: &SyncSender<FileParts>, limit: u64, counts: &WarmCounts) {
    let mut waiting = vec![b".".to_vec()];
    while let Some(path) = waiting.pop() {
        let opened = open(&directory, &path, OFlags::DIRECTORY);
        let Ok(entries) = opened.and_then(Dir::new) else {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (mut part, mut directories) = (Vec::new(), Vec::new());
        for entry in entries.flatten() {
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = [&path[..], b"/", name].concat();
            match entry.file_type() {
                FileType::Directory => directories.push(path),
                FileType::RegularFile => part.push(path),
                _ => {}
            }
            if part.len() == PART && sender.send(std::mem::take(&mut part)).is_err() {
                return;
            }
        }
        if counts.is_full(limit) || (!part.is_empty() && sender.send(part).is_err()) {
            return;
        }
        directories.sort_unstable_by(|one, other| other.cmp(one));
        waiting.append(&mut directories);
    }
}

fn warm_parts(directory: impl AsFd, receiver: &Mutex<Receiver<FileParts>>, limit: u64, counts: &WarmCounts) {
    loop {
        // The lock is held while waiting: a thread that waits for it would wait for a part too.
        let part = receiver.lock().map(|receiver| receiver.recv());
        let Ok(Ok(part)) = part else { return };
        for path in part {
            if counts.is_full(limit) {
                break;
            }
            let size = open(&directory, &path, OFlags::empty()).and_then(|file| {
                let size = fstat(&file)?.st_size.cast_unsigned();
                read_ahead(&file, size);
                Ok(size)
            });
            match size {
                Ok(size) => {
                    counts.files.fetch_add(1, Ordering::Relaxed);
                    counts.bytes.fetch_add(size, Ordering::Relaxed);
                }
                Err(_) => {
                    counts.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}
