//! Moving the calling thread into another mount namespace.

use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Moves the calling thread into the mount namespace that the file at `path` stands for (`/proc/PID/ns/mnt`). From
/// then on every path means what it means there.
///
/// # Errors
///
/// What opening the file gives; `EINVAL` if it is no mount namespace or the process has several threads; `EPERM`
/// without `CAP_SYS_ADMIN`.
pub fn enter_mount_namespace(path: &Path) -> io::Result<()> {
    let namespace = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Mount))?)
}
