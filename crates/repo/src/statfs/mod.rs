//! The directory `statfs`: an empty directory for each image that is mounted with the numbers of this file system.
//!
//! Overlayfs asks its topmost layer for `statfs` and for the attributes of the root directory, so each of them has the
//! attributes of the image's root. A name in it would be a name in the root of the mount that nothing verifies: only
//! its owner, who mounts, may enter the directory above, and the inodes are immutable where the file system can
//! (`chattr +i`), so that not even a mistake of root adds a name, or removes a directory that a mount shows.

mod attributes;
mod collect;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use libcomposefs_image::Digest;
use libcomposefs_image::tree::InodeId;
use libcomposefs_sys::resolve_beneath::open_directory_beneath;
use rustix::fs::{AtFlags, Dir, FlockOperation, IFlags, Mode, fchmod, flock, fstat, mkdirat, renameat, unlinkat};
use rustix::fs::{ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;
use rustix::process::geteuid;

use self::attributes::RootAttributes;
use crate::{Repository, RepositoryError, io_error, layout};

pub use self::collect::StatfsReport;

/// Number of names that are tried for a directory. A name is passed over if something else has it.
const TRIES: u32 = 8;
/// Name of a directory that has not all attributes yet.
const UNFINISHED: &str = "new";

/// What keeps names out of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatfsGuard {
    /// The inode is immutable, or there is an error.
    Immutable,
    /// The inode is immutable if the file system and this process can do that.
    ImmutableIfPossible,
}

/// The directory `statfs` of a repository, locked.
#[derive(Debug)]
struct StatfsDir {
    /// An open file of its own, which has the lock.
    directory: OwnedFd,
    path: PathBuf,
}

impl Repository {
    /// Opens an empty directory with the attributes of an image's root directory, for the topmost layer of its mount.
    /// A missing one is made. The image must be open, or leased by a [`Reader`](crate::Reader), until it is mounted.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::StatfsDirectory`], or if the image or the repository cannot be read or written.
    pub fn statfs_directory(&self, image: &Digest, guard: StatfsGuard) -> Result<OwnedFd, RepositoryError> {
        self.expect_writable()?;
        let tree = self.tree_of_image(image)?;
        let wanted = RootAttributes::of(&tree.inode(InodeId::ROOT));
        let above = StatfsDir::make(self)?;
        for number in 0..TRIES {
            let name = if number == 0 { image.to_hex() } else { format!("{image}.{number}") };
            let found = match above.open(&name)? {
                Some(found) => found,
                None => above.add(&name, &wanted)?,
            };
            // First the guard: what is checked then stays so.
            above.protect(&found, &name, guard)?;
            if is_empty(&found).map_err(io_error("read the directory", above.path.join(&name)))?
                && wanted.are_of(&found).map_err(io_error("read the attributes of", above.path.join(&name)))?
            {
                return Ok(found);
            }
        }
        Err(above.refuse("the directories of this image have files or other attributes: remove them, or run gc"))
    }
}

impl StatfsDir {
    /// Opens the directory, and makes it if it is missing.
    fn make(repository: &Repository) -> Result<Self, RepositoryError> {
        let directory = repository.dir.make_dir(layout::STATFS)?;
        let this = Self { directory, path: repository.dir.path.join(layout::STATFS) };
        let stat = fstat(&this.directory).map_err(io_error("stat", &this.path))?;
        if stat.st_uid != geteuid().as_raw() {
            return Err(this.refuse("it belongs to another user, who could add names to the mount: remove it"));
        }
        if stat.st_mode & 0o7777 != 0o700 {
            fchmod(&this.directory, Mode::RWXU).map_err(io_error("set the mode of", &this.path))?;
        }
        this.lock()
    }

    fn lock(self) -> Result<Self, RepositoryError> {
        flock(&self.directory, FlockOperation::LockExclusive).map_err(io_error("lock", &self.path))?;
        Ok(self)
    }

    /// Opens a directory; `None` if it does not exist.
    fn open(&self, name: &str) -> Result<Option<OwnedFd>, RepositoryError> {
        match open_directory_beneath(self.directory.as_fd(), name.as_bytes()) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(io_error("open the directory", self.path.join(name))(errno)),
        }
    }

    /// Makes a directory that has all attributes before it has its name.
    fn add(&self, name: &str, wanted: &RootAttributes) -> Result<OwnedFd, RepositoryError> {
        let path = self.path.join(name);
        self.remove(UNFINISHED)?;
        mkdirat(&self.directory, UNFINISHED, Mode::RWXU).map_err(io_error("make the directory", &path))?;
        let made = open_directory_beneath(self.directory.as_fd(), UNFINISHED.as_bytes());
        let made = made.map_err(io_error("open the directory", &path))?;
        wanted.give(&made).map_err(io_error("give the attributes of the image's root to", &path))?;
        renameat(&self.directory, UNFINISHED, &self.directory, name).map_err(io_error("name", &path))?;
        if wanted.are_of(&made).map_err(io_error("read the attributes of", &path))? {
            return Ok(made);
        }
        self.remove(name)?;
        Err(self.refuse("this file system cannot keep all attributes of the image's root directory"))
    }

    /// Makes a directory immutable.
    fn protect(&self, found: &OwnedFd, name: &str, guard: StatfsGuard) -> Result<(), RepositoryError> {
        let flags = ioctl_getflags(found);
        let set = flags.and_then(|flags| match flags.contains(IFlags::IMMUTABLE) {
            true => Ok(()),
            false => ioctl_setflags(found, flags | IFlags::IMMUTABLE),
        });
        match (set, guard) {
            (Ok(()), _) | (Err(_), StatfsGuard::ImmutableIfPossible) => Ok(()),
            (Err(errno), StatfsGuard::Immutable) => {
                self.remove(name)?;
                Err(self.refuse(&format!(
                    "the files of this mount must be verified, so no name may be added to its root directory, and the \
                     directory that answers statfs cannot be made immutable ({errno}): this needs \
                     CAP_LINUX_IMMUTABLE, and a file system that has the attribute"
                )))
            }
        }
    }

    /// Removes an empty directory, if it exists. A directory with names, and anything else, stays.
    fn remove(&self, name: &str) -> Result<(), RepositoryError> {
        let path = self.path.join(name);
        let Some(found) = self.open(name)? else { return Ok(()) };
        if let Ok(flags) = ioctl_getflags(&found)
            && flags.contains(IFlags::IMMUTABLE)
        {
            ioctl_setflags(&found, flags - IFlags::IMMUTABLE).map_err(io_error("make changeable", &path))?;
        }
        match unlinkat(&self.directory, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(errno) => Err(io_error("remove", &path)(errno)),
        }
    }

    fn refuse(&self, reason: &str) -> RepositoryError {
        RepositoryError::StatfsDirectory { path: self.path.clone(), reason: reason.to_owned() }
    }
}

fn is_empty(directory: &OwnedFd) -> rustix::io::Result<bool> {
    for entry in Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
