//! Repositories are made.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use libcomposefs_image::Algorithm;
use libcomposefs_sys::tempfile::Temporary;
use libcomposefs_sys::verity::{Enabled, enable};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, fsync, mkdir, open, symlinkat, unlinkat};
use rustix::io::{Errno, write};

use super::lease::{GC_LOCK, open_gc_lock};
use super::{Format, Meta, Repository, RepositoryError, dir, io_error, layout};

/// Mode of a new repository: other users need no access.
const MODE: Mode = Mode::from_raw_mode(0o700);

/// Settings of a new repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Algorithm of all digests.
    pub algorithm: Algorithm,
    /// Whether every object must have fs-verity.
    pub demands_verity: bool,
    /// Format of new images.
    pub format: Format,
}

impl Settings {
    fn words(self) -> String {
        let verity = if self.demands_verity { "required" } else { "not required" };
        let format = match self.format {
            Format::Auto => "0",
            Format::One => "1",
            Format::Legacy => "2",
        };
        format!("{} digests, fs-verity {verity}, image format {format}", self.algorithm)
    }
}

impl Repository {
    /// Makes a repository in a new or empty directory, or opens one that has these settings. Returns whether it was
    /// made.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NoVerity`], [`RepositoryError::NotEmpty`], [`RepositoryError::OtherSettings`], or the
    /// kernel's error.
    pub fn init(path: &Path, settings: Settings) -> Result<(Self, bool), RepositoryError> {
        let made = match mkdir(path, MODE) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(Errno::NOENT) => {
                if let Some(above) = path.parent() {
                    std::fs::create_dir_all(above).map_err(io_error("make the directory", above))?;
                }
                mkdir(path, MODE).map_err(io_error("make the directory", path))?;
                true
            }
            Err(errno) => return Err(io_error("make the directory", path)(errno)),
        };
        let outcome = Self::init_in(path, settings);
        if made && outcome.is_err() {
            // The directory stays if another process has put something into it.
            let _ = std::fs::remove_file(path.join(layout::LEASES).join(GC_LOCK));
            for name in [layout::IMAGE_REFS, layout::IMAGES, layout::OBJECTS, layout::LEASES] {
                let _ = std::fs::remove_dir(path.join(name));
            }
            let _ = std::fs::remove_dir(path);
        }
        outcome
    }

    fn init_in(path: &Path, settings: Settings) -> Result<(Self, bool), RepositoryError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = Arc::new(open(path, flags, Mode::empty()).map_err(io_error("open", path))?);
        if let Some(found) = existing(path, settings)? {
            return Ok((found, false));
        }
        // A gc must be able to lock this file, also on a disk that is full by then.
        let leases = dir::make_directory_in(directory.as_fd(), layout::LEASES, &path.join(layout::LEASES))?;
        open_gc_lock(leases.as_fd()).map_err(io_error("make", path.join(layout::LEASES).join(GC_LOCK)))?;
        for part in [layout::OBJECTS, layout::IMAGES] {
            let made = dir::make_directory_in(directory.as_fd(), part, &path.join(part))?;
            if part == layout::IMAGES {
                expect_symlinks(made.as_fd(), path)?;
                dir::make_directory_in(made.as_fd(), layout::REFS, &path.join(layout::IMAGE_REFS))?;
            }
        }
        // If two processes make the repository at once, the settings of the first are valid.
        let meta = Meta::new(settings.algorithm, settings.format);
        let made = write_meta(&directory, path, &meta, settings.demands_verity)?;
        if let Some(above) = path.parent() {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            if let Ok(above) = open(above, flags, Mode::empty()) {
                let _ = fsync(above);
            }
        }
        match existing(path, settings)? {
            Some(repository) => Ok((repository, made)),
            None => Err(RepositoryError::NotARepository { path: path.to_owned() }),
        }
    }
}

/// Writes `meta.json`, and returns false if it exists.
pub(super) fn write_meta(
    directory: &Arc<OwnedFd>,
    path: &Path,
    meta: &Meta,
    demands_verity: bool,
) -> Result<bool, RepositoryError> {
    let meta_path = path.join(layout::META);
    let mut file = Temporary::create(directory, 0o644).map_err(io_error("make a file in", path))?;
    let text = meta.emit();
    let mut rest = &text[..];
    while !rest.is_empty() {
        rest = &rest[write(&file, rest).map_err(io_error("write", &meta_path))?..];
    }
    fsync(&file).map_err(io_error("sync", &meta_path))?;
    if demands_verity {
        file.reopen_read_only().map_err(io_error("reopen", &meta_path))?;
        let no_verity = |source| RepositoryError::NoVerity { path: path.to_owned(), source };
        match enable(&file, meta.algorithm.kernel_number(), 4096).map_err(no_verity)? {
            Enabled::Now | Enabled::Before => {}
            Enabled::Unsupported => return Err(no_verity(Errno::OPNOTSUPP.into())),
        }
    }
    let made = match file.link(directory.as_fd(), layout::META) {
        Ok(()) => true,
        Err(error) if Errno::from_io_error(&error) == Some(Errno::EXIST) => false,
        Err(error) => return Err(io_error("link", &meta_path)(error)),
    };
    fsync(directory).map_err(io_error("sync", path))?;
    Ok(made)
}

/// Checks that the file system supports symlinks. FAT, for one, does not.
fn expect_symlinks(directory: BorrowedFd<'_>, path: &Path) -> Result<(), RepositoryError> {
    const PROBE: &str = ".probe";
    match symlinkat("probe", directory, PROBE) {
        Ok(()) | Err(Errno::EXIST) => {
            let _ = unlinkat(directory, PROBE, AtFlags::empty());
            Ok(())
        }
        Err(errno @ (Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS)) => {
            Err(RepositoryError::NoSymlinks { path: path.to_owned(), source: errno.into() })
        }
        Err(errno) => Err(io_error("make a link in", path.join(layout::IMAGES))(errno)),
    }
}

/// Opens an existing repository with these settings. If no repository exists, checks that the directory has only
/// parts of an unfinished one.
fn existing(path: &Path, settings: Settings) -> Result<Option<Repository>, RepositoryError> {
    match Repository::open(path) {
        Ok(repository) => {
            let found = Settings {
                algorithm: repository.algorithm(),
                demands_verity: repository.demands_verity,
                format: repository.meta.format,
            };
            if found == settings {
                return Ok(Some(repository));
            }
            let (found, wanted) = (found.words(), settings.words());
            Err(RepositoryError::OtherSettings { path: path.to_owned(), found, wanted })
        }
        Err(RepositoryError::NotARepository { .. }) => {
            let directory = open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
            let directory = directory.map_err(io_error("open", path))?;
            for entry in Dir::read_from(&directory).map_err(io_error("list", path))? {
                let entry = entry.map_err(io_error("list", path))?;
                if !matches!(
                    entry.file_name().to_bytes(),
                    b"." | b".." | b"objects" | b"images" | b"leases" | b"lost+found"
                ) {
                    return Err(RepositoryError::NotEmpty { path: path.to_owned() });
                }
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
