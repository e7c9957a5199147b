//! Unmounting of composefs mounts, and of no others.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use libcomposefs_sys::fs_magic::FsMagic;
use libcomposefs_sys::fuse::{MountProgramError, unmount_by_program};
use libcomposefs_sys::mount::{MountError, errno_text, unmount};
use libcomposefs_sys::proc_fd;
use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxAttributes, StatxFlags, open, openat, statx};
use rustix::io::Errno;

use crate::mounts::{Line, lines};

/// The reason why a mount could not be unmounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UmountError {
    /// The path leads nowhere, or the list of mounts cannot be read.
    #[error("Failed to unmount {}: {source}", target.display())]
    Io {
        /// Path given to unmount.
        target: PathBuf,
        /// Error that the kernel returned.
        source: io::Error,
    },
    /// No composefs image is mounted there.
    #[error("Failed to unmount {}: {}", target.display(), match found {
        Some(found) => format!("the mount there is no composefs mount but {found}"),
        None => "it is not a mount point".into(),
    })]
    NotComposefs {
        /// Path given to unmount.
        target: PathBuf,
        /// File system and source of what is mounted there.
        found: Option<String>,
    },
    /// Without `/proc` the mounts cannot be listed, and no overlay is mounted there.
    #[error("Failed to unmount {}: no overlay is mounted there, and more cannot be found out: \
        /proc is not mounted", target.display())]
    NoProc {
        /// Path given to unmount.
        target: PathBuf,
    },
    /// The mount is that of a user, and `fusermount3`, which unmounts it, refused or cannot be started.
    #[error("Failed to unmount {}: fusermount3: {said}", target.display())]
    Program {
        /// Path given to unmount.
        target: PathBuf,
        /// What the program printed, or the error of the system.
        said: String,
        /// Set if the program cannot be found.
        is_missing: bool,
    },
    /// The kernel refused to unmount it.
    #[error("Failed to unmount {}: {}", target.display(), errno_text(source.errno))]
    Kernel {
        /// Path given to unmount.
        target: PathBuf,
        /// Error that the kernel returned.
        source: MountError,
    },
}

impl UmountError {
    /// Returns what can be done about it, if anything is known to help.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            UmountError::Kernel { target, source } if source.errno == Errno::BUSY => Some(busy_remedy(target)),
            UmountError::Program { target, said, .. } if said.contains("busy") => Some(busy_remedy(target)),
            UmountError::Program { is_missing: true, .. } => Some("install fusermount3, of the package fuse3".into()),
            UmountError::Program { .. } => Some("unmount it as the user who mounted it, or as root".into()),
            UmountError::Kernel { source, .. } if source.errno == Errno::PERM => {
                Some("unmounting needs CAP_SYS_ADMIN: run it as root".into())
            }
            UmountError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some(
                "a mount in user space can be used by its user alone: unmount it as that user, or as root by umount(8)"
                    .into(),
            ),
            UmountError::NotComposefs { found: Some(_), .. } => Some("use umount(8) for other mounts".into()),
            _ => None,
        }
    }
}

fn busy_remedy(target: &Path) -> String {
    let target = target.display();
    format!("something still uses it: `fuser -vm {target}` tells what; or unmount lazily, to let it finish")
}

/// Unmounts the composefs image mounted at `target`; `lazily` takes it away at once and lets its last user finish.
///
/// # Errors
///
/// [`UmountError`]
pub fn umount(target: &Path, lazily: bool) -> Result<(), UmountError> {
    let io_error = |source| UmountError::Io { target: target.to_owned(), source };
    let mount_point = MountPoint::open(&target.canonicalize().map_err(io_error)?).map_err(io_error)?;
    let mut is_fuse = false;
    match std::fs::read("/proc/self/mountinfo") {
        // In a chroot or an initramfs.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !mount_point.is_overlay().map_err(io_error)? {
                return Err(UmountError::NoProc { target: target.to_owned() });
            }
        }
        mounts => match mount_point.line(&mounts.map_err(io_error)?).map_err(io_error)? {
            Some(line) if line.is_composefs() => is_fuse = line.is_fuse(),
            found => {
                let found = found.map(|line| {
                    format!("{} {}", String::from_utf8_lossy(line.file_system), String::from_utf8_lossy(&line.source))
                });
                return Err(UmountError::NotComposefs { target: target.to_owned(), found });
            }
        },
    }
    let kernel_error = |source| UmountError::Kernel { target: target.to_owned(), source };
    match unmount(&mount_point.kernel_path(), lazily) {
        // A user's own mount, which fusermount3 made and unmounts.
        Err(error) if is_fuse && error.errno == Errno::PERM => {
            unmount_by_program(&mount_point.path, lazily).map_err(|error| by_program_error(target, error))
        }
        answer => answer.map_err(kernel_error),
    }
}

fn by_program_error(target: &Path, error: MountProgramError) -> UmountError {
    let (said, is_missing) = match error {
        MountProgramError::Refused(said) => (said, false),
        MountProgramError::Io(source) => (source.to_string(), source.kind() == io::ErrorKind::NotFound),
    };
    UmountError::Program { target: target.to_owned(), said, is_missing }
}

/// A mount point as a name in an open directory. What is checked is what is unmounted, also if a directory above is
/// renamed or replaced meanwhile. A descriptor of the mount itself would keep it busy.
#[derive(Debug)]
struct MountPoint {
    directory: OwnedFd,
    name: OsString,
    /// The path without symlinks.
    path: PathBuf,
}

impl MountPoint {
    fn open(path: &Path) -> io::Result<Self> {
        let directory =
            open(path.parent().unwrap_or(path), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let name = path.file_name().unwrap_or(".".as_ref()).to_owned();
        Ok(Self { directory, name, path: path.to_owned() })
    }

    /// Returns the line of the mount, if a mount begins here.
    fn line<'m>(&self, mounts: &'m [u8]) -> io::Result<Option<Line<'m>>> {
        let stat = self.statx()?;
        if StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID) {
            let is_root = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
            return Ok(lines(mounts).find(|line| is_root && line.id == Some(stat.stx_mnt_id)));
        }
        // Before Linux 5.8, which has no numbers of mounts in statx.
        Ok(lines(mounts).filter(|line| line.target == self.path).last())
    }

    /// Returns true if an overlay is mounted here, as far as can be found out without the list of mounts.
    fn is_overlay(&self) -> io::Result<bool> {
        let is_mount = self.statx()?.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = openat(&self.directory, &self.name, flags, Mode::empty())?;
        Ok(is_mount && FsMagic::of(root)? == FsMagic::OVERLAYFS)
    }

    fn statx(&self) -> io::Result<Statx> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        Ok(statx(&self.directory, &self.name, flags, StatxFlags::MNT_ID)?)
    }

    /// Returns a path for `umount2`, which takes no descriptor. Without `/proc` it is the path that was given.
    fn kernel_path(&self) -> PathBuf {
        proc_fd::link(&self.directory).map_or_else(|| self.path.clone(), |directory| directory.join(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_no_composefs_mount_stays() {
        assert!(matches!(umount(Path::new("/proc"), false), Err(UmountError::NotComposefs { found: Some(_), .. })));
        assert!(matches!(umount(Path::new("/proc/self"), false), Err(UmountError::NotComposefs { found: None, .. })));
        assert!(matches!(umount(Path::new("/"), false), Err(UmountError::NotComposefs { .. })));
        assert!(matches!(umount(Path::new("/nonexistent"), false), Err(UmountError::Io { .. })));
    }

    #[test]
    fn a_mount_point_stays_the_same_if_a_directory_above_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("above/mnt");
        fs::create_dir_all(&path).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let mount_point = MountPoint::open(&path).unwrap();
        fs::rename(dir.path().join("above"), dir.path().join("elsewhere")).unwrap();
        fs::create_dir_all(&path).unwrap();
        assert_ne!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(fs::metadata(mount_point.kernel_path()).unwrap().ino(), inode);
    }
}
