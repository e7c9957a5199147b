//! Files of a directory that are complete and durable before they have a name.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libcomposefs_sys::tempfile::Temporary;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// Opens a regular file, with its length; `None` if it is missing. A FIFO does not block.
pub(super) fn open_regular(path: &Path) -> io::Result<Option<(File, u64)>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(Some((file, metadata.len())))
}

/// Makes the directories of a file below `root`, and `root` itself, each durable.
pub(super) fn make_parents(root: &Path, path: &Path) -> io::Result<()> {
    let mut missing: Vec<&Path> = Vec::new();
    for parent in path.ancestors().skip(1) {
        if parent.is_dir() {
            break;
        }
        missing.push(parent);
        if parent == root {
            break;
        }
    }
    for directory in missing.into_iter().rev() {
        match std::fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) if !directory.is_dir() => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
            _ => sync_parent(directory)?,
        }
    }
    Ok(())
}

/// Writes the directory that a path is in to disk.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    open_directory(path)?.1.sync_all()
}

/// Opens the directory that a path is in.
fn open_directory(path: &Path) -> io::Result<(PathBuf, File)> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((parent.to_owned(), File::open(parent)?))
}

/// A file that is on disk without a name.
pub(super) struct NewFile {
    temporary: Temporary,
    directory: Arc<OwnedFd>,
    path: PathBuf,
}

impl NewFile {
    /// Writes a file that will be at `path`.
    pub(super) fn write(path: &Path, fill: &mut dyn FnMut(&mut File) -> io::Result<()>) -> io::Result<Self> {
        let directory = Arc::new(OwnedFd::from(open_directory(path)?.1));
        let temporary = Temporary::create(&directory, 0o666)?;
        let mut file = File::from(temporary.as_fd().try_clone_to_owned()?);
        fill(&mut file)?;
        file.sync_all()?;
        Ok(Self { temporary, directory, path: path.to_owned() })
    }

    /// Gives the file its name, and returns false if the name is taken.
    pub(super) fn link(mut self) -> io::Result<bool> {
        let is_new = match self.temporary.link(self.directory.as_fd(), name_of(&self.path)) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        rustix::fs::fsync(&*self.directory)?;
        Ok(is_new)
    }

    /// Gives the file its name, in place of the file that has it.
    pub(super) fn replace(self) -> io::Result<()> {
        let Self { temporary, directory, path } = self;
        temporary.replace(directory.as_fd(), name_of(&path)).map_err(|error| match error.kind() {
            io::ErrorKind::IsADirectory => io::Error::new(error.kind(), "other refs have this name as their directory"),
            _ => error,
        })?;
        Ok(rustix::fs::fsync(&*directory)?)
    }
}

fn name_of(path: &Path) -> &std::ffi::OsStr {
    path.file_name().unwrap_or_default()
}
