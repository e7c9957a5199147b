//! The device `/dev/fuse`, and the two ways to mount by it: directly, or through `fusermount3` for users without
//! privileges.
#![allow(unsafe_code)]

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use rustix::mount::{MountAttrFlags, MountFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg, socketpair,
};

use crate::mount::{FsContext, MountError, MountFd, mount_at_once};

/// Path of the device.
pub const DEVICE: &str = "/dev/fuse";

/// The program that mounts FUSE file systems for users, from the package `fuse3`.
pub const MOUNT_PROGRAM: &str = "fusermount3";

const FUSE_DEV_IOC_CLONE: Opcode = opcode::read::<u32>(229, 0);

/// The parameters of a FUSE mount that the kernel is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FuseMountOptions {
    /// Source of the mount, as `/proc/self/mountinfo` shows it.
    pub source: String,
    /// Type of the file system after `fuse.`, as `/proc/self/mountinfo` shows it.
    pub subtype: String,
    /// Set if users other than the one who mounts may use the mount.
    pub allow_other: bool,
    /// Attributes of the mount, such as `nosuid`.
    pub attributes: MountAttributes,
}

/// The attributes of a FUSE mount, which is always read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountAttributes {
    /// Set if setuid and setgid bits and file capabilities have no effect.
    pub nosuid: bool,
    /// Set if devices cannot be opened.
    pub nodev: bool,
    /// Set if programs cannot be executed.
    pub noexec: bool,
    /// Set if reading a file does not change its access time.
    pub noatime: bool,
}

impl Default for MountAttributes {
    fn default() -> Self {
        Self { nosuid: true, nodev: true, noexec: false, noatime: false }
    }
}

/// Opens the device. Each open file of it can serve one mount.
///
/// # Errors
///
/// `ENOENT` or `ENODEV` where the kernel has no FUSE, `EACCES` or `EPERM` where the device is not for this user.
pub fn open_device() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens the device once more for the mount that `device` serves, with a queue of its own for the requests that are
/// being worked on, so that threads do not wait for each other.
///
/// # Errors
///
/// What opening the device or the `ioctl` gives; `EINVAL` if `device` serves no mount.
pub fn clone_device(device: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let clone = open_device()?;
    let number = device.as_raw_fd().unsigned_abs();
    // SAFETY: FUSE_DEV_IOC_CLONE takes a pointer to a `u32` with the number of an open descriptor, and only reads it.
    unsafe { ioctl(&clone, Setter::<FUSE_DEV_IOC_CLONE, u32>::new(number)) }?;
    Ok(clone)
}

/// Makes a FUSE mount that is attached nowhere, served by `device`.
///
/// # Errors
///
/// `ENOSYS` before Linux 5.2, `EPERM` without `CAP_SYS_ADMIN` in the user namespace, and what else the calls give.
pub fn mount_detached(device: BorrowedFd<'_>, options: &FuseMountOptions) -> Result<MountFd, MountError> {
    let context = FsContext::open("fuse")?;
    context.set_string("source", &options.source)?;
    context.set_string("subtype", &options.subtype)?;
    context.set_string("fd", device.as_raw_fd().to_string())?;
    for (key, value) in owner_parameters() {
        context.set_string(key, value)?;
    }
    context.set_flag("default_permissions")?;
    if options.allow_other {
        context.set_flag("allow_other")?;
    }
    context.set_flag("ro")?;
    context.create()?;
    context.mount(options.attributes.flags(true))
}

/// Mounts at `target` by `mount(2)`, for kernels that lack the other interface.
///
/// # Errors
///
/// What `mount` gives.
pub fn mount_by_old_call(device: BorrowedFd<'_>, options: &FuseMountOptions, target: &Path) -> Result<(), MountError> {
    let mut data = format!("fd={},default_permissions", device.as_raw_fd());
    for (key, value) in owner_parameters() {
        data.push_str(&format!(",{key}={value}"));
    }
    if options.allow_other {
        data.push_str(",allow_other");
    }
    let data = std::ffi::CString::new(data).unwrap_or_default();
    let fs = format!("fuse.{}", options.subtype);
    mount_at_once(options.source.as_ref(), target, &fs, options.attributes.old_flags(), &data)
}

fn owner_parameters() -> [(&'static str, String); 3] {
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    [("rootmode", "40000".to_owned()), ("user_id", user.to_string()), ("group_id", group.to_string())]
}

impl MountAttributes {
    /// Returns the flags of `fsmount`.
    #[must_use]
    pub fn flags(self, read_only: bool) -> MountAttrFlags {
        let mut flags = MountAttrFlags::empty();
        flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, read_only);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOSUID, self.nosuid);
        flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, self.nodev);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, self.noexec);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOATIME, self.noatime);
        flags
    }

    fn old_flags(self) -> MountFlags {
        let mut flags = MountFlags::RDONLY;
        flags.set(MountFlags::NOSUID, self.nosuid);
        flags.set(MountFlags::NODEV, self.nodev);
        flags.set(MountFlags::NOEXEC, self.noexec);
        flags.set(MountFlags::NOATIME, self.noatime);
        flags
    }
}

/// Failure of `fusermount3`.
#[derive(Debug)]
pub enum MountProgramError {
    /// The program cannot be started, or the socket to it failed.
    Io(io::Error),
    /// The program refused: what it printed, without its name and the line ends.
    Refused(String),
}

impl MountProgramError {
    fn refused(output: &Output) -> Self {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = said.lines().map(|line| line.strip_prefix("fusermount3: ").unwrap_or(line).trim());
        let said = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        Self::Refused(if said.is_empty() { output.status.to_string() } else { said })
    }
}

/// Has `fusermount3` mount at `target`, and returns the device that serves the mount.
///
/// # Errors
///
/// [`MountProgramError`]
pub fn mount_by_program(options: &FuseMountOptions, target: &Path) -> Result<OwnedFd, MountProgramError> {
    let failed = |errno: Errno| MountProgramError::Io(errno.into());
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(failed)?;
    // The program takes the number of its socket from this variable. Standard input is inherited by a child alone, in
    // contrast to a descriptor without the flag for exec.
    let child = Command::new(MOUNT_PROGRAM)
        .arg("-o")
        .arg(program_options(options))
        .arg("--")
        .arg(target)
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(MountProgramError::Io)?;
    let received = receive_descriptor(ours.as_fd());
    let output = child.wait_with_output().map_err(MountProgramError::Io)?;
    match received.map_err(failed)? {
        Some(device) if output.status.success() => Ok(device),
        _ => Err(MountProgramError::refused(&output)),
    }
}

/// The program sets `nosuid` and `nodev` itself, and knows no `source`.
fn program_options(options: &FuseMountOptions) -> String {
    let mut text = format!("ro,default_permissions,fsname={},subtype={}", options.source, options.subtype);
    for (is_set, word) in [
        (options.allow_other, "allow_other"),
        (options.attributes.noexec, "noexec"),
        (options.attributes.noatime, "noatime"),
    ] {
        if is_set {
            text.push(',');
            text.push_str(word);
        }
    }
    text
}

/// Has `fusermount3` unmount `target`; `lazily` takes it away at once and lets its last user finish.
///
/// # Errors
///
/// [`MountProgramError`]
pub fn unmount_by_program(target: &Path, lazily: bool) -> Result<(), MountProgramError> {
    let flags = if lazily { "-uz" } else { "-u" };
    let output = Command::new(MOUNT_PROGRAM)
        .args([flags, "--"])
        .arg(target)
        .stdin(Stdio::null())
        .output()
        .map_err(MountProgramError::Io)?;
    if output.status.success() { Ok(()) } else { Err(MountProgramError::refused(&output)) }
}

/// Receives one descriptor from a socket; `None` if the other side closed it before.
fn receive_descriptor(socket: BorrowedFd<'_>) -> rustix::io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_comes_through_the_socket() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [null.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&theirs, &[io::IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
        assert!(receive_descriptor(ours.as_fd()).unwrap().is_some());
        drop(theirs);
        assert!(receive_descriptor(ours.as_fd()).unwrap().is_none());
    }

    #[test]
    fn the_program_gets_the_options_that_it_knows() {
        let mut options =
            FuseMountOptions { source: "composefs".into(), subtype: "composefs".into(), ..Default::default() };
        assert_eq!(program_options(&options), "ro,default_permissions,fsname=composefs,subtype=composefs");
        options.allow_other = true;
        options.attributes.noexec = true;
        assert!(program_options(&options).ends_with(",allow_other,noexec"));
    }
}
