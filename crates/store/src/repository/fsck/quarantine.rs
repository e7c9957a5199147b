//! Where things go that are taken away: nothing is deleted.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use composefs_sys::beneath::open_directory_beneath;
use rustix::fs::{AtFlags, RenameFlags, fsync, linkat, renameat_with, unlinkat};
use rustix::io::Errno;

use crate::repository::{Repository, RepositoryError, io_error};

/// Its directory in a repository.
pub(super) const QUARANTINE: &str = "quarantine";

/// That of one repair: `quarantine/SECONDS-PID/` with the paths below it that things had.
#[derive(Debug)]
pub(super) struct Quarantine<'r> {
    repository: &'r Repository,
    below: String,
}

impl<'r> Quarantine<'r> {
    pub(super) fn new(repository: &'r Repository) -> Self {
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let process = rustix::process::getpid().as_raw_nonzero();
        Self { repository, below: format!("{QUARANTINE}/{seconds}-{process}") }
    }

    /// Takes something away; `false` if it is not there any more. The repository is locked meanwhile.
    pub(super) fn take(&self, path: &Path) -> Result<Option<PathBuf>, RepositoryError> {
        let _alone = self.repository.lock_alone()?;
        let Some((from, name)) = self.open(path)? else { return Ok(None) };
        let (to, kept) = self.place_for(path)?;
        let mut tries = 0;
        loop {
            let kept_name = numbered(name, tries);
            match renameat_with(&from, name, &to, kept_name.as_str(), RenameFlags::NOREPLACE) {
                Ok(()) => {
                    fsync(&from).map_err(io_error("sync the directory of", self.repository.path().join(path)))?;
                    return Ok(Some(kept.with_file_name(kept_name)));
                }
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::EXIST) if tries < 1000 => tries += 1,
                Err(errno) => return Err(io_error("take away", self.repository.path().join(path))(errno)),
            }
        }
    }

    /// Keeps a file that is about to be replaced, by a second name.
    pub(super) fn keep(&self, path: &Path) -> Result<Option<PathBuf>, RepositoryError> {
        let Some((from, name)) = self.open(path)? else { return Ok(None) };
        let (to, kept) = self.place_for(path)?;
        let mut tries = 0;
        loop {
            let kept_name = numbered(name, tries);
            match linkat(&from, name, &to, kept_name.as_str(), AtFlags::empty()) {
                Ok(()) => return Ok(Some(kept.with_file_name(kept_name))),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::EXIST) if tries < 1000 => tries += 1,
                Err(errno) => return Err(io_error("keep", self.repository.path().join(path))(errno)),
            }
        }
    }

    /// Lets go of what was kept.
    pub(super) fn forget(&self, kept: &Path) {
        if let Ok(Some((directory, name))) = self.open(kept) {
            let _ = unlinkat(directory, name, AtFlags::empty());
        }
    }

    fn open<'p>(&self, path: &'p Path) -> Result<Option<(OwnedFd, &'p OsStr)>, RepositoryError> {
        let failed = |errno| io_error("open the directory of", self.repository.path().join(path))(errno);
        let Some(name) = path.file_name() else { return Err(failed(Errno::INVAL)) };
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match open_directory_beneath(self.repository.directory.as_fd(), above.as_os_str().as_encoded_bytes()) {
            Ok(directory) => Ok(Some((directory, name))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(errno)),
        }
    }

    fn place_for(&self, path: &Path) -> Result<(OwnedFd, PathBuf), RepositoryError> {
        // Names that are no text are kept by what can be shown of them.
        let kept = Path::new(&self.below).join(path.to_string_lossy().as_ref());
        let above = kept.parent().unwrap_or(Path::new(&self.below));
        let directory = self.repository.make_directory(&above.to_string_lossy())?;
        Ok((directory, kept))
    }
}

fn numbered(name: &OsStr, number: u32) -> String {
    let name = name.to_string_lossy();
    if number == 0 { name.into_owned() } else { format!("{name}~{number}") }
}
