//! A second process that continues with the memory and the descriptors of this one, and the end of it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open, waitpid};

use crate::background::expect_one_thread;

/// The part of the process that a call of [`fork`] returned in.
#[derive(Debug)]
pub enum ForkedPart {
    /// The process that called.
    Parent(ForkedProcess),
    /// The new process.
    Child,
}

/// A process that [`fork`] made.
#[derive(Debug)]
pub struct ForkedProcess {
    pid: Pid,
    descriptor: OwnedFd,
}

/// Makes a process. It ends by itself only, not with its parent.
///
/// # Errors
///
/// `EBUSY` if the process has several threads, of which the child would have one only; what `fork` and `pidfd_open`
/// (Linux 5.3) give.
pub fn fork() -> io::Result<ForkedPart> {
    expect_one_thread()?;
    // SAFETY: the process has one thread, so that no lock is held by another one and the child may call anything.
    match unsafe { libc::fork() } {
        0 => Ok(ForkedPart::Child),
        -1 => Err(io::Error::last_os_error()),
        child => {
            let pid = Pid::from_raw(child).ok_or(Errno::SRCH)?;
            Ok(ForkedPart::Parent(ForkedProcess { pid, descriptor: pidfd_open(pid, PidfdFlags::empty())? }))
        }
    }
}

/// Gives signals the effect that they have without a handler. A child inherits the handlers of its parent.
pub fn reset_signals(signals: &[i32]) {
    for &signal in signals {
        // SAFETY: SIG_DFL is no function of this program.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

impl ForkedProcess {
    /// Returns the number of the process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until the process has ended, with all its threads.
    ///
    /// # Errors
    ///
    /// What `waitpid` gives.
    pub fn wait(&self) -> io::Result<WaitStatus> {
        let ended = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()))?;
        ended.map(|(_, status)| status).ok_or_else(|| Errno::CHILD.into())
    }
}

/// The descriptor can be read when the process has ended.
impl AsFd for ForkedProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_several_threads_is_not_copied() {
        // The test runner has threads of its own.
        let error = fork().map(|_| ()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::BUSY.raw_os_error()));
    }
}
