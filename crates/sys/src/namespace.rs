//! Moves the calling thread into another mount namespace, and back for a moment.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// A stay in another mount namespace, whose owner decides what is at every path there, `/proc` and `/dev` included.
#[derive(Debug)]
pub struct Visit {
    home: OwnedFd,
    there: OwnedFd,
}

impl Visit {
    /// Moves the calling thread into the mount namespace that the file at `path` stands for (`/proc/PID/ns/mnt`). From
    /// then on every path means what it means there.
    ///
    /// # Errors
    ///
    /// What opening the file gives; `EINVAL` if it is no mount namespace or the process has several threads; `EPERM`
    /// without `CAP_SYS_ADMIN`.
    pub fn enter(path: &Path) -> io::Result<Self> {
        let open = |path: &Path| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let visit = Self { there: open(path)?, home: open(Path::new("/proc/self/ns/mnt"))? };
        move_to(&visit.there)?;
        Ok(visit)
    }

    /// Runs `action` in the namespace that the thread came from. There, too, the working directory is the root.
    ///
    /// # Errors
    ///
    /// What moving there and back gives. If the way back fails the thread stays at home.
    pub fn at_home<T>(&self, action: impl FnOnce() -> T) -> io::Result<T> {
        move_to(&self.home)?;
        let done = action();
        move_to(&self.there)?;
        Ok(done)
    }
}

/// Moves the calling thread into a new mount namespace. Later mounts of the old one appear there too; its own mounts do
/// not appear in the old one, and end with the last process in it. Other threads of the process stay in the old one.
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_ADMIN`, and what `unshare` and `mount` give.
pub fn enter_private_mounts() -> io::Result<()> {
    // SAFETY: the flag does not separate the table of descriptors, which is what makes the call unsafe.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS)? };
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}

fn move_to(namespace: &OwnedFd) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?)
}
