//! The directory `partial/incoming`: a second name for objects that have just arrived, so that an overlay finds them in
//! its next layer (`docs/format/repository.md`, section 7).
//!
//! The name is needed from the moment in which overlayfs looked for the object in `objects` until it looks here, so
//! names are removed after a minute. The directory itself is never removed: a mount has it as a layer.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use libcomposefs_image::Digest;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, linkat, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::cold::is_young;
use crate::dir::RepoDir;
use crate::{Repository, RepositoryError, io_error, layout};

/// Time for which an object keeps its second name. An overlay needs it for an instant.
const NAME_LASTS: Duration = Duration::from_secs(60);

/// The directory of objects that have just arrived.
#[derive(Debug)]
pub struct ArrivedObjects {
    directory: OwnedFd,
    path: PathBuf,
    repository: RepoDir,
}

impl Repository {
    /// Opens the directory of objects that have just arrived, and makes it if it is missing.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn arrived_objects(&self) -> Result<ArrivedObjects, RepositoryError> {
        self.expect_writable()?;
        let directory = self.dir.make_dir(layout::INCOMING)?;
        Ok(ArrivedObjects { directory, path: self.dir.path.join(layout::INCOMING), repository: self.dir.clone() })
    }

    /// Removes the second names of objects that arrived a while ago.
    pub(super) fn collect_arrived(&self) -> Result<(), RepositoryError> {
        let Some(directory) = self.dir.open_dir(layout::INCOMING)? else { return Ok(()) };
        let path = self.dir.path.join(layout::INCOMING);
        ArrivedObjects { directory, path, repository: self.dir.clone() }.sweep()
    }
}

impl ArrivedObjects {
    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives an object of the repository its second name. That it has one already is success.
    ///
    /// # Errors
    ///
    /// If there is no such object, or the kernel refuses.
    pub fn offer(&self, digest: &Digest) -> Result<(), RepositoryError> {
        let name = digest.object_path();
        let failed = |errno| io_error("name an object that has arrived as", self.path.join(&name))(errno);
        let object = format!("{}/{name}", layout::OBJECTS);
        let link = || linkat(&self.repository, &object, &self.directory, &name, AtFlags::empty());
        match link() {
            // The object, or the directory of the name.
            Err(Errno::NOENT) => {
                let parent = name.get(..2).unwrap_or_default();
                match mkdirat(&self.directory, parent, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(failed(errno)),
                }
                match link() {
                    Ok(()) | Err(Errno::EXIST) => Ok(()),
                    Err(errno) => Err(failed(errno)),
                }
            }
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Removes names that are older than a minute. The time of a name is that of the last change of its inode.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read, or a name not removed.
    pub fn sweep(&self) -> Result<(), RepositoryError> {
        let now = SystemTime::now();
        for byte in 0..=u8::MAX {
            let name = format!("{byte:02x}");
            let path = self.path.join(&name);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = match openat(&self.directory, &name, flags, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                result => result.map_err(io_error("open the directory", &path))?,
            };
            for entry in Dir::read_from(&directory).map_err(io_error("list", &path))? {
                let entry = entry.map_err(io_error("list", &path))?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let Ok(stat) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
                if is_young(u64::try_from(stat.st_ctime).unwrap_or_default(), NAME_LASTS, now) {
                    continue;
                }
                match unlinkat(&directory, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(io_error("remove", path.join(name.to_string_lossy().as_ref()))(errno)),
                }
            }
        }
        Ok(())
    }
}
