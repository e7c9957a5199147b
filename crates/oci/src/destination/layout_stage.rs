//! A directory with blobs that have no place in a layout yet. It is removed if the image is not published. If the
//! process is killed, the next export to the same place removes it: no process has a lock on it then.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libcomposefs_sys::locked_directory::{make_locked_directory, remove_abandoned};
use libcomposefs_sys::tempfile::Temporary;
use rustix::fs::{Mode, OFlags, fchmod, fstat, fsync, mkdirat, openat};
use rustix::io::Errno;

/// The first part of the name of the directory.
pub(super) const PREFIX: &str = ".composefs-export-";

/// The directory, `blobs/sha256` in it, and the directory that it is in.
#[derive(Debug)]
pub(super) struct LayoutStage {
    parent: Arc<OwnedFd>,
    path: PathBuf,
    name: String,
    directory: Arc<OwnedFd>,
    blobs: Arc<OwnedFd>,
    /// Set when it has its final name.
    is_published: bool,
}

/// How a directory of a layout is opened: a symlink in its place could lead out of the layout.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory below another one, and makes it if it is missing. A symlink is not followed.
pub(super) fn open_or_make(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(openat(parent, name, DIRECTORY, Mode::empty())?)
}

/// Writes a small file, which replaces another one when it is on disk.
pub(super) fn write_file(directory: &Arc<OwnedFd>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = Temporary::create(directory, 0o666)?;
    File::from(temporary.as_fd().try_clone_to_owned()?).write_all(bytes)?;
    fsync(&temporary)?;
    temporary.replace(directory.as_fd(), name)
}

impl LayoutStage {
    /// Makes the directory in `parent`, whose path is `path`.
    pub(super) fn make(parent: Arc<OwnedFd>, path: &Path) -> io::Result<Self> {
        // What exports of this user have left that were killed. It only takes room, so that errors are passed over.
        let _ = remove_abandoned(parent.as_fd(), PREFIX, |name, _| {
            let _ = std::fs::remove_dir_all(path.join(OsStr::from_bytes(name.to_bytes())));
        });
        let (name, directory) = make_locked_directory(parent.as_fd(), PREFIX)?;
        let path = path.join(&name);
        let directory = Arc::new(directory);
        let blobs = || open_or_make(&open_or_make(&directory, "blobs")?, "sha256");
        let blobs = match blobs() {
            Ok(blobs) => Arc::new(blobs),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&path);
                return Err(error);
            }
        };
        Ok(Self { parent, path, name, directory, blobs, is_published: false })
    }

    /// Returns the directory of blobs.
    pub(super) fn blobs(&self) -> &Arc<OwnedFd> {
        &self.blobs
    }

    /// Makes a layout of the directory, and gives it a name beside its own. `EEXIST` if the name is taken by anything;
    /// the blobs then still are in the directory.
    pub(super) fn become_layout(&mut self, name: &Path, layout: &str, index: &[u8]) -> io::Result<()> {
        write_file(&self.directory, "oci-layout", layout.as_bytes())?;
        write_file(&self.directory, "index.json", index)?;
        // Until here it was private; the directories in it have the mode that the umask gives.
        let blobs = open_or_make(&self.directory, "blobs")?;
        fchmod(&*self.directory, Mode::from_raw_mode(fstat(&blobs)?.st_mode & 0o777))?;
        for directory in [&*self.blobs, &blobs, &*self.directory] {
            fsync(directory)?;
        }
        rustix::fs::renameat_with(&*self.parent, &self.name, &*self.parent, name, rustix::fs::RenameFlags::NOREPLACE)?;
        self.is_published = true;
        Ok(fsync(&*self.parent)?)
    }
}

impl Drop for LayoutStage {
    fn drop(&mut self) {
        if !self.is_published {
            // The error cannot be reported, and the name identifies the directory.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
