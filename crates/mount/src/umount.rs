//! Unmounting of composefs mounts, and of no others.

use std::io;
use std::path::{Path, PathBuf};

use libcomposefs_sys::fs_magic::FsMagic;
use libcomposefs_sys::mount::{MountError, errno_text, unmount};
use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags, open, statx};
use rustix::io::Errno;

use crate::mounts::lines;

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
    #[error("Failed to unmount {}: no overlay is mounted there, and more cannot be found out: /proc is not mounted", target.display())]
    NoProc {
        /// Path given to unmount.
        target: PathBuf,
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
            UmountError::Kernel { target, source } if source.errno == Errno::BUSY => Some(format!(
                "something still uses it: `fuser -vm {}` tells what; or unmount lazily, to let it finish",
                target.display()
            )),
            UmountError::Kernel { source, .. } if source.errno == Errno::PERM => {
                Some("unmounting needs CAP_SYS_ADMIN: run it as root".into())
            }
            UmountError::NotComposefs { found: Some(_), .. } => Some("use umount(8) for other mounts".into()),
            _ => None,
        }
    }
}

/// Unmounts the composefs image mounted at `target`; `lazily` takes it away at once and lets its last user finish.
///
/// # Errors
///
/// [`UmountError`]
pub fn umount(target: &Path, lazily: bool) -> Result<(), UmountError> {
    let io_error = |source| UmountError::Io { target: target.to_owned(), source };
    let path = target.canonicalize().map_err(io_error)?;
    let mounts = match std::fs::read("/proc/self/mountinfo") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // In a chroot or an initramfs.
            if !is_overlay(&path).map_err(io_error)? {
                return Err(UmountError::NoProc { target: target.to_owned() });
            }
            return unmount(&path, lazily).map_err(|source| UmountError::Kernel { target: target.to_owned(), source });
        }
        result => result.map_err(io_error)?,
    };
    match lines(&mounts).filter(|line| line.target == path).last() {
        Some(line) if line.is_composefs() => {}
        found => {
            let found = found.map(|line| {
                format!("{} {}", String::from_utf8_lossy(line.file_system), String::from_utf8_lossy(&line.source))
            });
            return Err(UmountError::NotComposefs { target: target.to_owned(), found });
        }
    }
    unmount(&path, lazily).map_err(|source| UmountError::Kernel { target: target.to_owned(), source })
}

/// Returns true if an overlay is mounted at a path, as far as can be found out without the list of mounts.
fn is_overlay(path: &Path) -> io::Result<bool> {
    let place = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = statx(&place, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    let is_mount = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok(is_mount && FsMagic::of(place)? == FsMagic::OVERLAYFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_composefs_mount_stays() {
        assert!(matches!(umount(Path::new("/proc"), false), Err(UmountError::NotComposefs { found: Some(_), .. })));
        assert!(matches!(umount(Path::new("/proc/self"), false), Err(UmountError::NotComposefs { found: None, .. })));
        assert!(matches!(umount(Path::new("/nonexistent"), false), Err(UmountError::Io { .. })));
    }
}
