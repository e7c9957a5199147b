//! Moves the calling thread into another mount namespace, and back for a moment.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, Stat};
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

/// The number of a mount namespace. An open descriptor would keep the namespace, and all mounts in it; this does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountNamespaceId {
    device: u64,
    inode: u64,
}

impl MountNamespaceId {
    /// Returns the mount namespace of a process: `self`, or its number.
    ///
    /// # Errors
    ///
    /// What `stat` gives: `EACCES` or `EPERM` for a process that this one may not trace.
    pub fn of(process: &str) -> io::Result<Self> {
        Ok(Self::from_stat(&rustix::fs::stat(format!("/proc/{process}/ns/mnt"))?))
    }

    fn from_stat(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }

    /// Moves the calling thread into this namespace, if a process is in it. From then on the thread has a working
    /// directory of its own, and every path means what it means there. Returns false if no process is in it.
    ///
    /// # Errors
    ///
    /// What listing `/proc` and moving there give.
    pub fn enter(self) -> io::Result<bool> {
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(process) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
                continue;
            };
            let open =
                rustix::fs::open(format!("/proc/{process}/ns/mnt"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let Ok(file) = open else { continue };
            if rustix::fs::fstat(&file).is_ok_and(|stat| Self::from_stat(&stat) == self) {
                // SAFETY: the flag does not separate the table of descriptors, which is what makes the call unsafe.
                unsafe { unshare_unsafe(UnshareFlags::FS)? };
                move_to(&file)?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn move_to(namespace: &OwnedFd) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?)
}
