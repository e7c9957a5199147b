//! The directories of a scan: open ones, and closed ones that can be opened again.
//!
//! An open directory is the only safe way to its entries, yet a tree may be deeper than the limit of open files, and
//! its paths longer than the kernel accepts. So a directory stays open while jobs need it and the limit permits.
//! Otherwise it is opened again from its nearest open ancestor, several names at a time, and its inode is compared
//! with the recorded one.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use libcomposefs_content::mutex::lock;
use libcomposefs_image::tree::InodeId;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::error::{Error, Step};
use crate::stat::{InodeKey, InodeStat};

const OPEN: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// A path passed to the kernel must be shorter than `PATH_MAX`.
const PATH_MAX: usize = 4000;

/// The number of open directories, and its limit.
#[derive(Debug)]
pub(crate) struct Budget {
    open: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), max })
    }
}

/// An open directory, counted in the budget.
#[derive(Debug)]
pub(crate) struct OpenDirectory {
    file: OwnedFd,
    budget: Arc<Budget>,
}

impl OpenDirectory {
    fn new(file: OwnedFd, budget: &Arc<Budget>) -> Arc<Self> {
        budget.open.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { file, budget: Arc::clone(budget) })
    }
}

impl AsFd for OpenDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for OpenDirectory {
    fn drop(&mut self) {
        self.budget.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A directory of the scanned tree. Its ancestors live as long as it does, for its path.
#[derive(Debug)]
struct ScanDirectory {
    parent: Option<Arc<ScanDirectory>>,
    /// Name in the parent; for the root, the path as given.
    name: CString,
    key: InodeKey,
    id: InodeId,
    /// Number of [`DirectoryUse`] handles.
    uses: AtomicUsize,
    /// `None` if no handle is left, or if the budget was exceeded.
    open: Mutex<Option<Arc<OpenDirectory>>>,
    budget: Arc<Budget>,
}

/// A reference to a directory that need not be open any more.
#[derive(Debug)]
pub(crate) struct DirectoryRef(Arc<ScanDirectory>);

impl DirectoryRef {
    /// Returns the directory's inode in the tree.
    pub(crate) fn id(&self) -> InodeId {
        self.0.id
    }

    /// Returns the path of an entry.
    pub(crate) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.0.path_of(name)
    }
}

/// A handle of a directory whose entries are still to be scanned. Dropping the last handle closes the directory.
#[derive(Debug)]
pub(crate) struct DirectoryUse(Arc<ScanDirectory>);

impl Clone for DirectoryUse {
    fn clone(&self) -> Self {
        self.0.uses.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for DirectoryUse {
    fn drop(&mut self) {
        if self.0.uses.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.keep(None);
        }
    }
}

impl ScanDirectory {
    fn keep(&self, open: Option<Arc<OpenDirectory>>) -> Option<Arc<OpenDirectory>> {
        std::mem::replace(&mut *lock(&self.open), open)
    }

    fn kept(&self) -> Option<Arc<OpenDirectory>> {
        lock(&self.open).clone()
    }

    /// Returns this directory and its ancestors up to the root.
    fn ancestors(&self) -> impl Iterator<Item = &ScanDirectory> {
        std::iter::successors(Some(self), |d| d.parent.as_deref())
    }

    fn path(&self) -> PathBuf {
        let mut names: Vec<&CStr> = self.ancestors().map(|d| d.name.as_c_str()).collect();
        names.reverse();
        names.iter().map(|n| OsStr::from_bytes(n.to_bytes())).collect()
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        let mut path = self.path();
        path.push(OsStr::from_bytes(name));
        path
    }
}

impl Drop for ScanDirectory {
    /// Drops the ancestors in a loop: dropping the last directory of a deep tree would recurse as deep.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut directory) = parent.and_then(Arc::into_inner) {
            parent = directory.parent.take();
        }
    }
}

impl DirectoryUse {
    /// Creates the root of the scan.
    pub(crate) fn root(path: CString, file: OwnedFd, meta: &InodeStat, budget: &Arc<Budget>) -> Self {
        Self::new(None, path, file, meta, InodeId::ROOT, budget)
    }

    fn new(
        parent: Option<Arc<ScanDirectory>>,
        name: CString,
        file: OwnedFd,
        meta: &InodeStat,
        id: InodeId,
        budget: &Arc<Budget>,
    ) -> Self {
        let open = OpenDirectory::new(file, budget);
        // The root stays open: all directories can be reached from it.
        let keep = parent.is_none() || budget.open.load(Ordering::Relaxed) <= budget.max;
        Self(Arc::new(ScanDirectory {
            parent,
            name,
            key: meta.key(),
            id,
            uses: AtomicUsize::new(1),
            open: Mutex::new(keep.then_some(open)),
            budget: Arc::clone(budget),
        }))
    }

    /// Creates the handle of a directory in this one, which was opened as `file` and added to the tree as `id`.
    pub(crate) fn child(&self, name: CString, file: OwnedFd, meta: &InodeStat, id: InodeId) -> Self {
        Self::new(Some(Arc::clone(&self.0)), name, file, meta, id, &self.0.budget)
    }

    /// Returns the directory's inode in the tree.
    pub(crate) fn id(&self) -> InodeId {
        self.0.id
    }

    /// Returns the open directory, opening it again if it was closed.
    pub(crate) fn open(&self) -> Result<Arc<OpenDirectory>, Error> {
        if let Some(open) = self.0.kept() {
            return Ok(open);
        }
        let failed = |errno: Errno| self.error(Step::Open, errno);
        let (base, names) = self.path_from_open();
        let mut file = Reached::Kept(base);
        let mut names = names.as_slice();
        while !names.is_empty() {
            let (next, taken) = open_piece(file.as_fd(), names).map_err(failed)?;
            file = Reached::New(next);
            names = &names[taken..];
        }
        let meta = InodeStat::of_file(file.as_fd()).map_err(failed)?;
        if meta.key() != self.0.key {
            return Err(Error::ChangedWhileReading { path: self.path() });
        }
        let open = match file {
            Reached::Kept(open) => open,
            Reached::New(file) => OpenDirectory::new(file, &self.0.budget),
        };
        if self.0.budget.open.load(Ordering::Relaxed) <= self.0.budget.max {
            self.0.keep(Some(Arc::clone(&open)));
        }
        Ok(open)
    }

    /// Returns the nearest open ancestor, and the names from there to this directory.
    fn path_from_open(&self) -> (Arc<OpenDirectory>, Vec<&CStr>) {
        let mut names = Vec::new();
        for directory in self.0.ancestors() {
            if let Some(open) = directory.kept() {
                names.reverse();
                return (open, names);
            }
            names.push(directory.name.as_c_str());
        }
        unreachable!("the root is used until the end of the scan, and always kept")
    }

    /// Returns the path, which begins with that of the root as given.
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path()
    }

    /// Returns the path of an entry.
    pub(crate) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.0.path_of(name)
    }

    /// Returns a reference that does not keep the directory open.
    pub(crate) fn to_ref(&self) -> DirectoryRef {
        DirectoryRef(Arc::clone(&self.0))
    }

    /// Writes the path below the root, with a trailing slash unless it is the root.
    pub(crate) fn write_relative_path(&self, path: &mut Vec<u8>) {
        let mut names: Vec<&CStr> = self.0.ancestors().map(|d| d.name.as_c_str()).collect();
        names.pop();
        path.clear();
        for name in names.iter().rev() {
            path.extend_from_slice(name.to_bytes());
            path.push(b'/');
        }
    }

    pub(crate) fn error(&self, step: Step, source: impl Into<std::io::Error>) -> Error {
        Error::Io { step, path: self.path(), source: source.into() }
    }
}

enum Reached {
    Kept(Arc<OpenDirectory>),
    New(OwnedFd),
}

impl AsFd for Reached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Reached::Kept(open) => open.as_fd(),
            Reached::New(file) => file.as_fd(),
        }
    }
}

/// Opens a directory by as many of the names as fit in one call. Returns it with the number of names used.
fn open_piece(from: BorrowedFd<'_>, names: &[&CStr]) -> rustix::io::Result<(OwnedFd, usize)> {
    let mut path = names[0].to_bytes().to_vec();
    let mut taken = 1;
    for name in &names[1..] {
        if path.len() + 1 + name.count_bytes() > PATH_MAX {
            break;
        }
        path.push(b'/');
        path.extend_from_slice(name.to_bytes());
        taken += 1;
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(from, &path[..], OPEN, Mode::empty(), resolve) {
        Ok(file) => Ok((file, taken)),
        // Before Linux 5.6, or blocked by a seccomp filter: opening name by name follows no symlink either.
        Err(Errno::NOSYS | Errno::PERM) => Ok((open_child(from, names[0])?, 1)),
        Err(errno) => Err(errno),
    }
}

/// Opens a directory inside another one; fails with `ELOOP` or `ENOTDIR` if it is not a directory.
pub(crate) fn open_child(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    openat(parent, name, OPEN, Mode::empty())
}

/// Opens the root of the scan.
pub(crate) fn open_root(path: &Path) -> rustix::io::Result<OwnedFd> {
    // With O_NOFOLLOW and O_DIRECTORY a symlink fails with ENOTDIR, like any other file that is not a directory.
    rustix::fs::open(path, OPEN, Mode::empty())
}

/// Opens the root of the scan, following a symlink.
pub(crate) fn open_root_followed(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OPEN.difference(OFlags::NOFOLLOW), Mode::empty())
}
