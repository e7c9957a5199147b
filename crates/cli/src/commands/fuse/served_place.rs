//! The place of a served mount: its mount point and mount namespace, and the end by a signal.
//!
//! A server must not stay in a mount namespace that has its own mount, unless the namespace is that of the system: the
//! server would keep the namespace, and the namespace the mount, and neither would ever end.

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use libcomposefs_fuse::{FuseError, FuseMount, MountRequest, MountedBy};
use libcomposefs_sys::namespace::{MountNamespaceId, enter_private_mounts};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// A mounted file system that is not served yet.
#[derive(Debug)]
pub(super) struct ServedPlace {
    /// Name of the program, for messages.
    program: &'static str,
    device: OwnedFd,
    mounted_by: MountedBy,
    target: PathBuf,
    /// Device number of the file system, by which it is recognized.
    number: Option<(u32, u32)>,
}

impl ServedPlace {
    pub(super) fn mount(program: &'static str, request: &MountRequest) -> Result<Self, FuseError> {
        let (device, mounted_by) = FuseMount::new(request)?.into_parts();
        let target = request.target.clone();
        let number = device_number(&target).ok();
        Ok(Self { program, device, mounted_by, target, number })
    }

    pub(super) fn mounted_by(&self) -> MountedBy {
        self.mounted_by
    }

    /// Takes the mount away at once. What else may have been mounted at the mount point stays.
    pub(super) fn unmount(&self) -> Result<(), FuseError> {
        unmount(self.mounted_by, &self.target, self.number)
    }

    /// Leaves the mount namespace if it must not be kept, and unmounts at the first of SIGINT, SIGTERM and SIGHUP.
    /// Returns the device to serve.
    pub(super) fn end_on_signals(self) -> io::Result<OwnedFd> {
        let home = self.leave_namespace();
        let Self { program, device, mounted_by, target, number } = self;
        end_on_signals(program, home, move || unmount(mounted_by, &target, number))?;
        Ok(device)
    }

    /// Returns the mount namespace that this process has left.
    fn leave_namespace(&self) -> Option<MountNamespaceId> {
        // What fusermount3 mounts is seen where its user is, who may not change namespaces.
        if self.mounted_by != MountedBy::Kernel {
            return None;
        }
        let home = leave_namespace()?;
        let _ = self.unmount();
        Some(home)
    }
}

/// Leaves the mount namespace, unless it is that of process 1, which never ends. Returns the one that was left.
pub(crate) fn leave_namespace() -> Option<MountNamespaceId> {
    let home = MountNamespaceId::of("self").ok()?;
    if MountNamespaceId::of("1").is_ok_and(|first| first == home) {
        return None;
    }
    enter_private_mounts().ok()?;
    Some(home)
}

/// Unmounts at the first of SIGINT, SIGTERM and SIGHUP, in the namespace that the process has left, and ends it.
pub(super) fn end_on_signals(
    program: &'static str,
    home: Option<MountNamespaceId>,
    unmount: impl FnOnce() -> Result<(), FuseError> + Send + 'static,
) -> io::Result<()> {
    let (mut ours, handlers) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, handlers.try_clone()?)?;
    }
    let wait = move || {
        // Without `handlers`, which lives as long as the process, the read would end at once.
        let _handlers = handlers;
        if ours.read_exact(&mut [0]).is_ok() {
            if is_at_home(home)
                && let Err(error) = unmount()
            {
                tell!("{program}: {error}");
            }
            std::process::exit(0);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}

/// Enters the mount namespace that the process has left. Where no process is left, nothing can be seen of the mount.
fn is_at_home(home: Option<MountNamespaceId>) -> bool {
    home.is_none_or(|home| home.enter().unwrap_or(false))
}

/// Takes the mount with this device number away at once, in the namespace that the process has left.
pub(crate) fn unmount_in(
    home: Option<MountNamespaceId>,
    mounted_by: MountedBy,
    target: &Path,
    number: Option<(u32, u32)>,
) -> Result<(), FuseError> {
    if is_at_home(home) { unmount(mounted_by, target, number) } else { Ok(()) }
}

pub(super) fn unmount(mounted_by: MountedBy, target: &Path, number: Option<(u32, u32)>) -> Result<(), FuseError> {
    match device_number(target) {
        Ok(found) if number.is_some_and(|number| number != found) => Ok(()),
        _ => mounted_by.unmount(target, true),
    }
}

/// Returns the number of the file system at a mount point, without asking its server.
pub(crate) fn device_number(target: &Path) -> io::Result<(u32, u32)> {
    let stat = statx(CWD, target, AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT, StatxFlags::empty())?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor))
}
