//! Mounts: the context-based interface (`fsopen` and its kin) with the kernel's own words on failure, and the old
//! `mount(2)` beside it.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

pub use rustix::mount::{MountAttrFlags, MountFlags};

/// A step of a mount that the kernel refused: which, with what number, and what it said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountError {
    /// The call, as `strace` would name it: `fsconfig(verity=require)`.
    pub step: String,
    /// The error number of the call.
    pub errno: Errno,
    /// The messages the kernel left in the mount context, without their `e `, `w ` or `i ` mark.
    pub log: Vec<String>,
}

impl MountError {
    fn new(step: impl Into<String>, errno: Errno) -> Self {
        Self { step: step.into(), errno, log: Vec::new() }
    }
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, errno_text(self.errno))?;
        if !self.log.is_empty() {
            write!(f, "; the kernel says: {}", self.log.join("; "))?;
        }
        Ok(())
    }
}

impl std::error::Error for MountError {}

/// Returns the description of an error number as of `strerror`, without the number itself.
#[must_use]
pub fn errno_text(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_owned()
}

/// A file system in the making: the parameters gathered for it so far, in the kernel.
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
    fs: String,
}

impl FsContext {
    /// Begins a mount of file system `fs` (`fsopen`). The kernel loads the module if need be.
    ///
    /// # Errors
    ///
    /// `ENOSYS` before Linux 5.2 or where a seccomp filter hides the call, `ENODEV` if the kernel does not know `fs`,
    /// `EPERM` without `CAP_SYS_ADMIN`.
    pub fn open(fs: &str) -> Result<Self, MountError> {
        let fd = rustix::mount::fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| MountError::new(format!("fsopen({fs})"), errno))?;
        Ok(Self { fd, fs: fs.to_owned() })
    }

    /// Sets a parameter that has no value.
    ///
    /// # Errors
    ///
    /// What the file system says; `EINVAL` if it does not know the parameter.
    pub fn set_flag(&self, key: &str) -> Result<(), MountError> {
        self.told(format!("fsconfig({key})"), rustix::mount::fsconfig_set_flag(&self.fd, key))
    }

    /// Sets a parameter to a text of at most 255 bytes.
    ///
    /// # Errors
    ///
    /// What the file system says; `EINVAL` if it does not know the parameter or the text is too long.
    pub fn set_string(&self, key: &str, value: impl AsRef<std::ffi::OsStr>) -> Result<(), MountError> {
        let value = value.as_ref();
        let step = format!("fsconfig({key}={})", value.display());
        self.told(step, rustix::mount::fsconfig_set_string(&self.fd, key, value))
    }

    /// Sets a parameter to an open file.
    ///
    /// # Errors
    ///
    /// What the file system says; `EINVAL` if the parameter takes no descriptor.
    pub fn set_fd(&self, key: &str, value: impl AsFd) -> Result<(), MountError> {
        let step = format!("fsconfig({key}=fd {})", value.as_fd().as_raw_fd());
        self.told(step, rustix::mount::fsconfig_set_fd(&self.fd, key, value))
    }

    /// Creates the file system from the parameters.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn create(&self) -> Result<(), MountError> {
        self.told(format!("fsconfig(create {})", self.fs), rustix::mount::fsconfig_create(&self.fd))
    }

    /// A mount of the created file system that is attached nowhere; dropping it unmounts it.
    ///
    /// # Errors
    ///
    /// What `fsmount` gives.
    pub fn mount(&self, attributes: MountAttrFlags) -> Result<MountFd, MountError> {
        let answer = rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes);
        self.told(format!("fsmount({})", self.fs), answer).map(|fd| MountFd { fd })
    }

    fn told<T>(&self, step: String, answer: rustix::io::Result<T>) -> Result<T, MountError> {
        answer.map_err(|errno| MountError { step, errno, log: self.drain_log() })
    }

    /// Takes the messages out of the context: one per read, `ENODATA` after the last (`fs/fsopen.c`).
    fn drain_log(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let mut log = Vec::new();
        while let Ok(len @ 1..) = rustix::io::read(&self.fd, &mut message) {
            let text = String::from_utf8_lossy(&message[..len]);
            let text = text.trim_end();
            let unmarked = ["e ", "w ", "i "].iter().find_map(|mark| text.strip_prefix(mark)).unwrap_or(text);
            log.push(unmarked.to_owned());
        }
        log
    }
}

/// A descriptor of a mount that is attached nowhere. Dropping it before [`MountFd::attach`] unmounts it.
#[derive(Debug)]
pub struct MountFd {
    fd: OwnedFd,
}

impl MountFd {
    /// Shifts the owners seen through this mount by the mapping of a user namespace.
    ///
    /// # Errors
    ///
    /// `ENOSYS` before Linux 5.12, `EINVAL` if the file system cannot be mapped (EROFS can since 5.19) or `userns` is
    /// no user namespace, `EPERM` for the initial one or without `CAP_SYS_ADMIN`.
    pub fn map_ids(&self, userns: BorrowedFd<'_>) -> Result<(), MountError> {
        let attr = MountAttr {
            set: MountAttrFlags::MOUNT_ATTR_IDMAP.bits().into(),
            userns: userns.as_raw_fd().unsigned_abs().into(),
            ..MountAttr::default()
        };
        set_attributes(self.fd.as_fd(), &attr).map_err(|errno| MountError::new("mount_setattr(idmap)", errno))
    }

    /// Attaches the mount at `target`, a symlink in whose last place is followed as `mount(2)` does.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `ENOTDIR` for a target that is no directory, and what else `move_mount` gives.
    pub fn attach(&self, target: &Path) -> Result<(), MountError> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        rustix::mount::move_mount(&self.fd, c"", CWD, target, flags)
            .map_err(|errno| MountError::new(format!("move_mount({})", target.display()), errno))
    }

    /// Attaches the mount at the open directory `target`, whose path is for messages.
    ///
    /// # Errors
    ///
    /// What `move_mount` gives.
    pub fn attach_to(&self, target: BorrowedFd<'_>, path: &Path) -> Result<(), MountError> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(&self.fd, c"", target, c"", flags)
            .map_err(|errno| MountError::new(format!("move_mount({})", path.display()), errno))
    }

    /// The root directory of the mount, opened for reading.
    ///
    /// # Errors
    ///
    /// What opening it gives.
    pub fn root(&self) -> Result<OwnedFd, MountError> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, c".", flags, Mode::empty())
            .map_err(|errno| MountError::new("openat(root of the mount)", errno))
    }
}

impl AsFd for MountFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<MountFd> for OwnedFd {
    fn from(mount: MountFd) -> Self {
        mount.fd
    }
}

/// `struct mount_attr` (`include/uapi/linux/mount.h`).
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

fn set_attributes(mount: BorrowedFd<'_>, attr: &MountAttr) -> Result<(), Errno> {
    // SAFETY: the path is an empty C string, `attr` has the layout and the size that are passed, the kernel only reads
    // both, and the descriptors are open.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if answer == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// Sets the read-only flag of a mount, or takes it away. A read-only file system stays one.
///
/// # Errors
///
/// `ENOSYS` before Linux 5.12, `EINVAL` if `mount` is not the root of a mount, `EPERM` without `CAP_SYS_ADMIN`.
pub fn set_read_only(mount: impl AsFd, is_read_only: bool) -> Result<(), MountError> {
    let flag = MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into();
    let (set, clear) = if is_read_only { (flag, 0) } else { (0, flag) };
    let attr = MountAttr { set, clear, ..MountAttr::default() };
    set_attributes(mount.as_fd(), &attr).map_err(|errno| MountError::new("mount_setattr(ro)", errno))
}

/// Copies the mount of an open directory, with that directory as its root, to one that is attached nowhere
/// (`open_tree`). `O_PATH` is enough; `path` is for messages.
///
/// # Errors
///
/// `ENOSYS` before Linux 5.2, `EPERM` without `CAP_SYS_ADMIN`, `EINVAL` if the mount is not of this namespace.
pub fn clone_directory(directory: BorrowedFd<'_>, path: &Path) -> Result<MountFd, MountError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(directory, c"", flags)
        .map(|fd| MountFd { fd })
        .map_err(|errno| MountError::new(format!("open_tree({})", path.display()), errno))
}

/// Copies the mount at `path` to one that is attached nowhere (`open_tree`). The mount at `path` stays.
///
/// # Errors
///
/// `ENOSYS` before Linux 5.2, `EINVAL` if nothing is mounted there, `EPERM` without `CAP_SYS_ADMIN`.
pub fn clone_mount(path: &Path) -> Result<MountFd, MountError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, path, flags)
        .map(|fd| MountFd { fd })
        .map_err(|errno| MountError::new(format!("open_tree({})", path.display()), errno))
}

/// Mounts with the one call of old kernels, `mount(2)`.
///
/// # Errors
///
/// What `mount` gives.
pub fn mount_at_once(
    source: &std::ffi::OsStr,
    target: &Path,
    fs: &str,
    flags: MountFlags,
    data: &CStr,
) -> Result<(), MountError> {
    rustix::mount::mount(source, target, fs, flags, data)
        .map_err(|errno| MountError::new(format!("mount({fs}, {})", data.to_string_lossy()), errno))
}

/// Unmounts what is mounted at `target`; `lazily` takes it away at once and lets its last user finish.
///
/// # Errors
///
/// `EBUSY` while something uses it and `lazily` is not set, `EINVAL` if `target` is no mount point.
pub fn unmount(target: &Path, lazily: bool) -> Result<(), MountError> {
    let lazily = if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    rustix::mount::unmount(target, UnmountFlags::NOFOLLOW | lazily)
        .map_err(|errno| MountError::new(format!("umount2({})", target.display()), errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_gives_step_reason_and_the_kernels_words() {
        let mut error = MountError::new("fsconfig(verity=require)", Errno::INVAL);
        assert_eq!(error.to_string(), "fsconfig(verity=require): Invalid argument");
        error.log = vec!["overlay: Bad value for 'verity'".to_owned()];
        assert_eq!(
            error.to_string(),
            "fsconfig(verity=require): Invalid argument; the kernel says: overlay: Bad value for 'verity'"
        );
    }
}
