//! The partition that the boot loader reads: finding it, reading it, and writing files that are whole or absent.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use libcomposefs_sys::fs_magic::FsMagic;
use libcomposefs_sys::resolve_beneath::{open_beneath, open_directory_beneath};
use rustix::fs::{
    AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstatvfs, fsync, mkdirat, openat, renameat, unlinkat,
};
use rustix::io::Errno;

use crate::error_text::with_remedy;

/// Places at which the partition is mounted, in the order in which `bootctl` knows them too.
const PLACES: [&str; 3] = ["/efi", "/boot/efi", "/boot"];
/// Most names that are read of a directory.
const NAMES_MAX: usize = 4096;
/// Ending of a file that is not whole.
const UNFINISHED: &str = ".composefs-new";

/// The mounted partition.
#[derive(Debug)]
pub(super) struct EspDirectory {
    path: PathBuf,
    fd: OwnedFd,
}

/// Room on the partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct EspSpace {
    /// Free bytes.
    pub(super) free: u64,
    /// Bytes in which space is given to files.
    unit: u64,
}

impl EspSpace {
    /// Returns the bytes that files and new directories take.
    pub(super) fn needed(&self, sizes: impl IntoIterator<Item = u64>, directories: u64) -> u64 {
        let rounded = |size: u64| size.max(1).div_ceil(self.unit).saturating_mul(self.unit);
        let files = sizes.into_iter().fold(0, |all: u64, size| all.saturating_add(rounded(size)));
        files.saturating_add(directories.saturating_mul(self.unit))
    }
}

impl EspDirectory {
    /// Opens the given directory, or the mount point that has a FAT file system.
    pub(super) fn find(given: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = given {
            let esp = Self::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            if !esp.is_fat() {
                tell!("composefs: {} is not FAT, the file system that firmware reads", path.display());
            }
            return Ok(esp);
        }
        let found = PLACES.iter().filter_map(|place| Self::open(Path::new(place)).ok()).find(Self::is_fat);
        let none = || format!("no EFI system partition is mounted at {}", PLACES.join(", "));
        found.ok_or_else(|| with_remedy(none(), "mount it, or use --esp=DIR"))
    }

    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { path: path.to_owned(), fd: rustix::fs::open(path, flags, Mode::empty())? })
    }

    fn is_fat(&self) -> bool {
        FsMagic::is_one_of(&[FsMagic::MSDOS], &self.fd)
    }

    /// Returns the path at which the partition is mounted.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps other commands from changing entries, as long as this value exists.
    pub(super) fn lock(&self) -> anyhow::Result<()> {
        match flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                let path = self.path.display();
                Err(with_remedy(
                    format!("another command changes the entries of {path}"),
                    "try again when it has ended",
                ))
            }
            locked => locked.with_context(|| format!("cannot lock {}", self.path.display())),
        }
    }

    /// Returns the room on the partition.
    pub(super) fn space(&self) -> anyhow::Result<EspSpace> {
        let stat =
            fstatvfs(&self.fd).with_context(|| format!("cannot find the free space of {}", self.path.display()))?;
        let unit = stat.f_frsize.max(512);
        Ok(EspSpace { free: stat.f_bavail.saturating_mul(unit), unit })
    }

    /// Opens a file for reading. Symlinks are refused.
    pub(super) fn file(&self, path: &str) -> io::Result<File> {
        let file = File::from(open_beneath(self.fd.as_fd(), path.as_bytes())?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
    }

    /// Returns whether there is a directory.
    pub(super) fn has_directory(&self, path: &str) -> bool {
        open_directory_beneath(self.fd.as_fd(), path.as_bytes()).is_ok()
    }

    /// Reads a file of at most `max` bytes, and one byte of a larger one.
    pub(super) fn read(&self, path: &str, max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(path)?.take(max as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Returns the sorted names in a directory; none if it does not exist.
    pub(super) fn names(&self, path: &str) -> anyhow::Result<Vec<String>> {
        let failed = || format!("cannot read {}", self.path.join(path).display());
        let directory = match self.directory(path) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            directory => directory.with_context(failed)?,
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            // Names that are not UTF-8 are not those of a boot entry.
            let name = entry.file_name().to_str().unwrap_or(".");
            if !name.starts_with('.') {
                names.push(name.to_owned());
            }
            if names.len() > NAMES_MAX {
                bail!("{} has more than {NAMES_MAX} names", self.path.join(path).display());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes a directory and those above it. They are on disk when this returns.
    pub(super) fn make_directory(&self, path: &str) -> anyhow::Result<()> {
        let failed = || format!("cannot make the directory {}", self.path.join(path).display());
        let mut above = self.directory("").with_context(failed)?;
        for name in path.split('/') {
            match mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
                Err(Errno::EXIST) => {}
                made => {
                    made.with_context(failed)?;
                    fsync(&above).with_context(failed)?;
                }
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            above = openat(&above, name, flags, Mode::empty()).with_context(failed)?;
        }
        Ok(())
    }

    /// Writes a file. It gets its name when all of it is on disk, and the name is on disk when this returns. After a
    /// failure, nothing of it is left.
    pub(super) fn write(&self, path: &str, write: impl FnOnce(&mut File) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let failed = || format!("cannot write {}", self.path.join(path).display());
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = self.directory(above).with_context(failed)?;
        let unfinished = format!("{name}{UNFINISHED}");
        remove_file(&directory, &unfinished).with_context(failed)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&directory, &unfinished, flags, Mode::from_raw_mode(0o644)).with_context(failed)?;
        let mut file = File::from(file);
        let written = write(&mut file)
            .and_then(|()| fsync(&file).map_err(Into::into))
            .and_then(|()| renameat(&directory, &unfinished, &directory, name).map_err(Into::into));
        if let Err(error) = written {
            let _ = remove_file(&directory, &unfinished);
            return Err(error.context(failed()));
        }
        fsync(&directory).with_context(failed)
    }

    /// Removes files of a directory that are not whole.
    pub(super) fn remove_unfinished(&self, path: &str) -> anyhow::Result<()> {
        for name in self.names(path)?.into_iter().filter(|name| name.ends_with(UNFINISHED)) {
            self.remove(&format!("{path}/{name}"))?;
        }
        Ok(())
    }

    /// Removes a file. Its absence is on disk when this returns.
    pub(super) fn remove(&self, path: &str) -> anyhow::Result<()> {
        let failed = || format!("cannot remove {}", self.path.join(path).display());
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = self.directory(above).with_context(failed)?;
        remove_file(&directory, name).with_context(failed)?;
        fsync(&directory).with_context(failed)
    }

    /// Removes a directory with its files.
    pub(super) fn remove_directory(&self, path: &str) -> anyhow::Result<()> {
        let failed = || format!("cannot remove {}", self.path.join(path).display());
        let directory = self.directory(path).with_context(failed)?;
        for entry in Dir::read_from(&directory).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                unlinkat(&directory, entry.file_name(), AtFlags::empty()).with_context(failed)?;
            }
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let above = self.directory(above).with_context(failed)?;
        unlinkat(&above, name, AtFlags::REMOVEDIR).with_context(failed)?;
        fsync(&above).with_context(failed)
    }

    /// Opens a directory for reading, so that it can be synced.
    fn directory(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if path.is_empty() {
            return openat(&self.fd, ".", flags, Mode::empty());
        }
        openat(open_directory_beneath(self.fd.as_fd(), path.as_bytes())?, ".", flags, Mode::empty())
    }
}

fn remove_file(directory: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_counted_in_clusters() {
        let space = EspSpace { free: 0, unit: 4096 };
        assert_eq!(space.needed([0, 1, 4096, 4097], 2), 4096 * (1 + 1 + 1 + 2 + 2));
        assert_eq!(space.needed([u64::MAX, 1], 0), u64::MAX);
    }
}
