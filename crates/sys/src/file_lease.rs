//! Finds out if a file is open elsewhere, including by the kernel's own file-backed and loop mounts.
//!
//! A write lease (`F_SETLEASE`, fcntl(2)) is granted only while no other descriptor of the file is open, in any process
//! or mount (`check_conflicting_open` in `fs/locks.c`). It is released at once: only the answer counts.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::io::{Errno, Result};

/// `F_SETSIG` of `include/uapi/asm-generic/fcntl.h`; no architecture has another.
const F_SETSIG: libc::c_int = 10;

/// The time for which an open may be refused: `/proc/sys/fs/lease-break-time` is 45 seconds, and then the kernel ends
/// the lease itself.
const BREAK_TIME: Duration = Duration::from_secs(90);
/// The first and the longest pause between two tries.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// Opens a file that another process may have a lease of. With `O_NONBLOCK`, without which a FIFO would block, such an
/// open fails (`EAGAIN`) until that process gives the lease back: at once after it asked, but a process may be stopped
/// in between.
///
/// # Errors
///
/// What `open` gives.
pub fn open_leased<T>(mut open: impl FnMut() -> Result<T>) -> Result<T> {
    let ([mut pause, longest], mut waited) = (PAUSES, Duration::ZERO);
    loop {
        match open() {
            Err(Errno::AGAIN) if waited < BREAK_TIME => {}
            result => return result,
        }
        std::thread::sleep(pause);
        waited += pause;
        pause = (pause * 2).min(longest);
    }
}

/// Returns true if a file, which is open here once and for reading only, is open elsewhere too; `None` if the kernel
/// cannot tell: on a file system without leases, or for a file of another user.
///
/// # Errors
///
/// What `fcntl` gives besides.
pub fn is_open_elsewhere(file: BorrowedFd<'_>) -> Result<Option<bool>> {
    // A process that opens the file in between causes a signal. SIGIO would end this process; SIGURG is ignored by
    // default.
    if fcntl(file, F_SETSIG, libc::SIGURG).is_err() {
        return Ok(None);
    }
    match fcntl(file, libc::F_SETLEASE, libc::F_WRLCK) {
        Ok(()) => {
            fcntl(file, libc::F_SETLEASE, libc::F_UNLCK)?;
            Ok(Some(false))
        }
        Err(Errno::AGAIN) => Ok(Some(true)),
        // EACCES: another owner, and no CAP_LEASE. EINVAL: the file system has no leases (FUSE, overlayfs), or it is
        // not a regular file.
        Err(Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOLCK | Errno::NOSYS | Errno::PERM) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn fcntl(file: BorrowedFd<'_>, command: libc::c_int, argument: libc::c_int) -> Result<()> {
    // SAFETY: both commands take a number, and the descriptor is open as long as it is borrowed.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    /// A process that is stopped between asking and giving back has the lease for long.
    #[test]
    fn an_open_waits_for_the_lease() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let leased = File::open(&path).unwrap();
        fcntl(leased.as_fd(), F_SETSIG, libc::SIGURG).unwrap();
        fcntl(leased.as_fd(), libc::F_SETLEASE, libc::F_WRLCK).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        let open = || rustix::fs::open(&path, flags, rustix::fs::Mode::empty());
        assert_eq!(open().err(), Some(Errno::AGAIN));
        std::thread::scope(|scope| {
            let opened = scope.spawn(|| open_leased(open));
            std::thread::sleep(Duration::from_millis(200));
            fcntl(leased.as_fd(), libc::F_SETLEASE, libc::F_UNLCK).unwrap();
            assert!(opened.join().unwrap().is_ok());
        });
    }

    #[test]
    fn a_second_descriptor_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let first = File::open(&path).unwrap();
        // tmpfs and every disk file system of Linux have leases.
        assert_eq!(is_open_elsewhere(first.as_fd()).unwrap(), Some(false));
        let second = File::open(&path).unwrap();
        assert_eq!(is_open_elsewhere(first.as_fd()).unwrap(), Some(true));
        drop(second);
        assert_eq!(is_open_elsewhere(first.as_fd()).unwrap(), Some(false));
        drop(first);
        let writable = File::options().write(true).open(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(is_open_elsewhere(reader.as_fd()).unwrap(), Some(true));
        drop(writable);
    }
}
