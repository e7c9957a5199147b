//! The files of an OCI layout in a directory.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};

use super::SourceFiles;

/// A directory with the files of a layout.
#[derive(Debug)]
pub struct DirectoryFiles(OwnedFd);

impl DirectoryFiles {
    /// Opens a directory.
    ///
    /// # Errors
    ///
    /// If it is no directory, or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }
}

impl SourceFiles for DirectoryFiles {
    // Tools link blobs of one layout to those of another, so symlinks are followed. A blob is compared with its digest.
    fn open(&self, path: &str) -> io::Result<(Box<dyn Read + Send + '_>, u64)> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(&self.0, path, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok((Box::new(File::from(file)), u64::try_from(stat.st_size).unwrap_or_default()))
    }
}
