//! Talking with the service manager (systemd) as one of its services: when the service is ready, and which descriptors
//! the manager keeps for the next process of the service (`sd_notify(3)`, `FDSTORE=1`).
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};

/// Number of the first descriptor that the manager passes (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;
/// Most descriptors that are taken.
const MOST: u32 = 64;
/// Longest time in which the manager reads its messages.
const BARRIER: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// The connection to the service manager.
#[derive(Debug)]
pub struct ServiceManager(UnixDatagram);

impl ServiceManager {
    /// Connects to the socket that the variable `NOTIFY_SOCKET` names: a path, or after `@` an abstract name.
    ///
    /// # Errors
    ///
    /// What `socket` and `connect` give.
    pub fn connect(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Ok(Self(socket))
    }

    /// Says that the service is ready.
    ///
    /// # Errors
    ///
    /// What `sendmsg` gives.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1", None)
    }

    /// Has the manager keep a descriptor under a name. The manager closes it by itself when it reports an error or a
    /// hang-up, as a FUSE device does whose file system is unmounted.
    ///
    /// # Errors
    ///
    /// What `sendmsg` gives.
    pub fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        self.send(&format!("FDSTORE=1\nFDNAME={name}"), Some(descriptor))
    }

    /// Has the manager close what it keeps under a name.
    ///
    /// # Errors
    ///
    /// What `sendmsg` gives.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None)
    }

    /// Waits until the manager has read all messages before.
    ///
    /// # Errors
    ///
    /// What the system calls give; `ETIMEDOUT` if the manager does not read within 10 seconds.
    pub fn barrier(&self) -> io::Result<()> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        self.send("BARRIER=1", Some(write.as_fd()))?;
        drop(write);
        match rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&read, PollFlags::IN)], Some(&BARRIER)))? {
            0 => Err(Errno::TIMEDOUT.into()),
            _ => Ok(()),
        }
    }

    fn send(&self, text: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.map(|descriptor| [descriptor]);
        if let Some(descriptors) = &descriptors {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let send = || sendmsg(&self.0, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL);
        rustix::io::retry_on_intr(send)?;
        Ok(())
    }
}

/// Takes the descriptors that the manager passed to this process, with their names: `count` and `names` are the values
/// of `LISTEN_FDS` and `LISTEN_FDNAMES`. The second call in a process returns no descriptors.
///
/// # Errors
///
/// `EBADF` if one is not open.
pub fn take_descriptors(count: u32, names: &str) -> io::Result<Vec<(String, OwnedFd)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let mut names = names.split(':');
    (0..count.min(MOST).cast_signed())
        .map(|number| {
            // SAFETY: the manager opened these numbers before the process began, nothing in the process has them, and
            // they are taken once. Whether one is open is checked before it is used.
            let descriptor = unsafe { OwnedFd::from_raw_fd(FIRST + number) };
            if let Err(errno) = fcntl_setfd(&descriptor, FdFlags::CLOEXEC) {
                // It is not open, so it must not be closed.
                std::mem::forget(descriptor);
                return Err(errno.into());
            }
            Ok((names.next().unwrap_or_default().to_owned(), descriptor))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_reach_the_manager() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let theirs = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager::connect(path.as_os_str()).unwrap();
        manager.ready().unwrap();
        manager.keep("device", theirs.as_fd()).unwrap();
        manager.forget("device").unwrap();
        let mut text = [0; 100];
        for expected in ["READY=1", "FDSTORE=1\nFDNAME=device", "FDSTOREREMOVE=1\nFDNAME=device"] {
            let len = theirs.recv(&mut text).unwrap();
            assert_eq!(std::str::from_utf8(&text[..len]).unwrap(), expected);
        }
        // Reading without room for the descriptor closes it, as the manager does.
        let reader = std::thread::spawn(move || theirs.recv(&mut [0; 100]));
        manager.barrier().unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), "BARRIER=1".len());
        assert!(ServiceManager::connect(OsStr::new("/nowhere/notify")).is_err());
    }
}
