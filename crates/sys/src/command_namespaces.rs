//! Namespaces for a command: a user namespace with its maps, process 1 of a process namespace, a network of its own.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, set_dumpable_behavior, waitpid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// The request that sets the flags of a network interface. Its type depends on the C library.
#[allow(clippy::unnecessary_cast)]
const SET_FLAGS: libc::Ioctl = libc::SIOCSIFFLAGS as libc::Ioctl;

/// A new user namespace whose maps are not written yet. A process holds it until this is dropped.
#[derive(Debug)]
pub struct NewUserNamespace {
    holder: Pid,
    /// The holder ends with this pipe.
    pipe: Option<OwnedFd>,
}

impl NewUserNamespace {
    /// Makes the namespace. The caller stays where it is.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the process has several threads, `EPERM`, `ENOSPC` or `EINVAL` where the system allows no user
    /// namespaces, and what `pipe2` and `fork` give.
    pub fn create() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (answer, answering) = pipe_with(PipeFlags::CLOEXEC)?;
        let Some(holder) = fork()? else {
            drop((write, answer));
            // SAFETY: the flag does not separate the table of descriptors, which is what makes the call unsafe.
            let made = unsafe { unshare_unsafe(UnshareFlags::NEWUSER) };
            let errno = made.err().map_or(0, Errno::raw_os_error);
            let _ = rustix::io::write(&answering, &errno.to_le_bytes());
            // Until the other side is closed.
            let _ = rustix::io::read(&read, &mut [0]);
            // SAFETY: ends the process without the destructors of what the caller owns.
            unsafe { libc::_exit(0) }
        };
        drop((read, answering));
        let namespace = Self { holder, pipe: Some(write) };
        let mut errno = [0; 4];
        let len = rustix::io::retry_on_intr(|| rustix::io::read(&answer, &mut errno))?;
        match i32::from_le_bytes(errno) {
            0 if len == errno.len() => Ok(namespace),
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Returns the number of the process that holds the namespace: its maps are those of `/proc/NUMBER`.
    #[must_use]
    pub fn holder(&self) -> Pid {
        self.holder
    }

    /// Moves the process into the namespace, in which it has all capabilities.
    ///
    /// # Errors
    ///
    /// What opening the namespace and `setns` give.
    pub fn enter(self) -> io::Result<()> {
        let file = File::open(format!("/proc/{}/ns/user", self.holder.as_raw_nonzero()))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::User))?;
        // The kernel takes the flag away with the change, and with it the files in /proc/self.
        Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
    }
}

impl Drop for NewUserNamespace {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = rustix::io::retry_on_intr(|| waitpid(Some(self.holder), WaitOptions::empty()));
    }
}

/// The part of the process that a call of [`start_init`] returned in.
#[derive(Debug)]
pub enum InitPart {
    /// Process 1 of a new process namespace, and whether it is set up.
    Init(io::Result<()>),
    /// The process that called, with the number of process 1 in its own namespace.
    Caller(Pid),
}

/// Splits the process: the new part is process 1 of a new process namespace, in a copy of the mount namespace. When it
/// ends, the kernel ends all processes of its namespace; when the caller ends, the kernel ends it. Further children of
/// the caller are in the new process namespace too.
///
/// With `own_network` the new part has a network namespace with a loopback interface alone, which is up.
///
/// # Errors
///
/// `EBUSY` if the process has several threads, `EPERM` without `CAP_SYS_ADMIN`, and what `unshare` and `fork` give.
pub fn start_init(own_network: bool) -> io::Result<InitPart> {
    // SAFETY: the flag does not separate the table of descriptors, which is what makes the call unsafe.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID)? };
    let Some(init) = fork()? else { return Ok(InitPart::Init(set_up_init(own_network))) };
    Ok(InitPart::Caller(init))
}

fn set_up_init(own_network: bool) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut flags = UnshareFlags::NEWNS;
    flags.set(UnshareFlags::NEWNET, own_network);
    // SAFETY: the flags do not separate the table of descriptors, which is what makes the call unsafe.
    unsafe { unshare_unsafe(flags)? };
    if own_network { set_loopback_up() } else { Ok(()) }
}

/// Returns the number of the child, or `None` in the child.
fn fork() -> io::Result<Option<Pid>> {
    if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
        return Err(Errno::BUSY.into());
    }
    // SAFETY: the process has one thread, so that no lock is held by another one and the child may call anything.
    match unsafe { libc::fork() } {
        0 => Ok(None),
        child if child > 0 => Ok(Pid::from_raw(child)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_loopback_up() -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all bytes zero is a valid value of this C structure of numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo\0") {
        *to = libc::c_char::try_from(from).unwrap_or_default();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or_default();
    // SAFETY: the request takes a pointer to an `ifreq` with a name and flags, and only reads it.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SET_FLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
