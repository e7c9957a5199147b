//! The directory for everything that a repair replaces: nothing is deleted.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use libcomposefs_sys::resolve_beneath::open_directory_beneath;
use rustix::fs::{AtFlags, RenameFlags, fsync, linkat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::seen::SeenEntry;
use crate::lock::Locked;
use crate::{Repository, RepositoryError, io_error};

/// Name of the directory in a repository.
pub(super) const QUARANTINE: &str = "quarantine";

/// Result of moving an entry to the quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The entry was moved to this path.
    To(PathBuf),
    /// The entry did not exist any more.
    Gone,
    /// Another entry has its name by now, and was left.
    Changed,
    /// The entry was left, for this reason.
    Left(String),
}

/// A file that has a second name in the quarantine.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    path: PathBuf,
    /// The file as it is after it was linked, which changes its ctime.
    seen: Option<SeenEntry>,
}

/// The directory of one repair: `quarantine/SECONDS-PID/`, with the same paths below it as in the repository.
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

    /// Moves an entry to the quarantine, if it is still what was judged and `leave` returns no reason to leave it. Both
    /// are checked under the exclusive lock, so that no process publishes meanwhile.
    pub(super) fn take(
        &self,
        path: &Path,
        seen: Option<&SeenEntry>,
        leave: impl FnOnce() -> Result<Option<String>, RepositoryError>,
    ) -> Result<Taken, RepositoryError> {
        let _alone = Locked::exclusive(&self.repository.dir)?;
        let Some((from, name)) = self.open(path)? else { return Ok(Taken::Gone) };
        if let Some(taken) = self.compare(&from, name, path, seen)? {
            return Ok(taken);
        }
        if let Some(reason) = leave()? {
            return Ok(Taken::Left(reason));
        }
        let (to, kept) = self.place_for(path)?;
        let mut tries = 0;
        loop {
            let kept_name = numbered(name, tries);
            match renameat_with(&from, name, &to, kept_name.as_str(), RenameFlags::NOREPLACE) {
                Ok(()) => {
                    fsync(&from).map_err(io_error("sync the directory of", self.repository.path().join(path)))?;
                    return Ok(Taken::To(kept.with_file_name(kept_name)));
                }
                Err(Errno::NOENT) => return Ok(Taken::Gone),
                Err(Errno::EXIST) if tries < 1000 => tries += 1,
                Err(errno) => return Err(io_error("take away", self.repository.path().join(path))(errno)),
            }
        }
    }

    /// Compares an entry with what was judged. Returns `None` if they are equal.
    fn compare(
        &self,
        directory: &OwnedFd,
        name: &OsStr,
        path: &Path,
        seen: Option<&SeenEntry>,
    ) -> Result<Option<Taken>, RepositoryError> {
        let now =
            SeenEntry::at(directory.as_fd(), name).map_err(io_error("stat", self.repository.path().join(path)))?;
        Ok(match now {
            None => Some(Taken::Gone),
            Some(now) if Some(&now) == seen => None,
            Some(_) => Some(Taken::Changed),
        })
    }

    /// Gives a file that is about to be replaced a second name in the quarantine, if it is still what was judged.
    pub(super) fn keep(&self, path: &Path, seen: Option<&SeenEntry>) -> Result<Result<Kept, Taken>, RepositoryError> {
        let Some((from, name)) = self.open(path)? else { return Ok(Err(Taken::Gone)) };
        if let Some(taken) = self.compare(&from, name, path, seen)? {
            return Ok(Err(taken));
        }
        let (to, kept) = self.place_for(path)?;
        let mut tries = 0;
        loop {
            let kept_name = numbered(name, tries);
            match linkat(&from, name, &to, kept_name.as_str(), AtFlags::empty()) {
                Ok(()) => {
                    let seen_now = SeenEntry::at(to.as_fd(), OsStr::new(&kept_name));
                    let seen_now = seen_now.map_err(io_error("stat", self.repository.path().join(path)))?;
                    let kept = Kept { path: kept.with_file_name(kept_name), seen: seen_now };
                    if kept.seen.as_ref().zip(seen).is_some_and(|(now, before)| now.is_same_file(before)) {
                        return Ok(Ok(kept));
                    }
                    self.forget(&kept.path);
                    return Ok(Err(Taken::Changed));
                }
                Err(Errno::NOENT) => return Ok(Err(Taken::Gone)),
                Err(Errno::EXIST) if tries < 1000 => tries += 1,
                Err(errno) => return Err(io_error("keep", self.repository.path().join(path))(errno)),
            }
        }
    }

    /// Removes the first name of a file that has a second one, like [`take`](Self::take).
    pub(super) fn take_kept(
        &self,
        path: &Path,
        kept: &Kept,
        leave: impl FnOnce() -> Result<Option<String>, RepositoryError>,
    ) -> Result<Taken, RepositoryError> {
        let _alone = Locked::exclusive(&self.repository.dir)?;
        let Some((from, name)) = self.open(path)? else { return Ok(Taken::Gone) };
        let taken = match self.compare(&from, name, path, kept.seen.as_ref())? {
            Some(taken) => taken,
            None => match leave()? {
                Some(reason) => Taken::Left(reason),
                None => {
                    let failed = |step| io_error(step, self.repository.path().join(path));
                    unlinkat(&from, name, AtFlags::empty()).map_err(failed("take away"))?;
                    fsync(&from).map_err(failed("sync the directory of"))?;
                    return Ok(Taken::To(kept.path.clone()));
                }
            },
        };
        self.forget(&kept.path);
        Ok(taken)
    }

    /// Removes the second name of a file.
    fn forget(&self, kept: &Path) {
        if let Ok(Some((directory, name))) = self.open(kept) {
            let _ = unlinkat(directory, name, AtFlags::empty());
        }
    }

    fn open<'p>(&self, path: &'p Path) -> Result<Option<(OwnedFd, &'p OsStr)>, RepositoryError> {
        let failed = |errno| io_error("open the directory of", self.repository.path().join(path))(errno);
        let Some(name) = path.file_name() else { return Err(failed(Errno::INVAL)) };
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match open_directory_beneath(self.repository.dir.as_fd(), above.as_os_str().as_encoded_bytes()) {
            Ok(directory) => Ok(Some((directory, name))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(errno)),
        }
    }

    fn place_for(&self, path: &Path) -> Result<(OwnedFd, PathBuf), RepositoryError> {
        // Names that are not UTF-8 are converted.
        let kept = Path::new(&self.below).join(path.to_string_lossy().as_ref());
        let above = kept.parent().unwrap_or(Path::new(&self.below));
        let directory = self.repository.dir.make_dir(&above.to_string_lossy())?;
        Ok((directory, kept))
    }
}

fn numbered(name: &OsStr, number: u32) -> String {
    let name = name.to_string_lossy();
    if number == 0 { name.into_owned() } else { format!("{name}~{number}") }
}
