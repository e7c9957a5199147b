//! Splits the process in two: one part returns to the caller of the program, the other continues in the background.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};

/// The part of the process that a call of [`split`] returned in.
#[derive(Debug)]
pub enum BackgroundPart {
    /// The part in the foreground: it waits for the other one, and then ends.
    Foreground(Waiting),
    /// The part in the background, in a session of its own: it does the work.
    Background(Report),
}

/// The foreground's view of the background.
#[derive(Debug)]
pub struct Waiting {
    pipe: OwnedFd,
    child: Pid,
}

/// The background's way to tell the foreground that the work has begun.
#[derive(Debug)]
pub struct Report {
    pipe: OwnedFd,
}

/// Splits the process.
///
/// # Errors
///
/// `EBUSY` if the process has several threads, of which the background would have one only; what `pipe2` and `fork`
/// give.
pub fn split() -> io::Result<BackgroundPart> {
    expect_one_thread()?;
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the process has one thread, so that no lock is held by another one and the child may call anything.
    match unsafe { libc::fork() } {
        0 => {
            drop(read);
            // Fails only for the leader of a process group, which a child is not.
            rustix::process::setsid()?;
            Ok(BackgroundPart::Background(Report { pipe: write }))
        }
        child => {
            let child = Pid::from_raw(child).ok_or_else(io::Error::last_os_error)?;
            if child.as_raw_nonzero().get() < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(BackgroundPart::Foreground(Waiting { pipe: read, child }))
        }
    }
}

/// Returns `EBUSY` if the process has several threads. A thread that was joined may be listed for a moment.
pub(crate) fn expect_one_thread() -> io::Result<()> {
    for _ in 0..100 {
        if std::fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() <= 1) {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Err(Errno::BUSY.into())
}

/// Has the standard streams lead nowhere, and makes the root the working directory, so that the process keeps nothing
/// of its caller busy.
///
/// # Errors
///
/// What the system calls give.
pub fn detach() -> io::Result<()> {
    rustix::process::chdir(c"/")?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    rustix::stdio::dup2_stderr(null.as_fd())?;
    Ok(())
}

impl Waiting {
    /// Waits until the background reports success, or ends without. Returns its exit status in the second case.
    ///
    /// # Errors
    ///
    /// What `read` and `waitpid` give.
    pub fn wait(self) -> io::Result<Option<i32>> {
        let mut byte = [0];
        if rustix::io::retry_on_intr(|| rustix::io::read(&self.pipe, &mut byte))? == 1 {
            return Ok(None);
        }
        let status = rustix::io::retry_on_intr(|| waitpid(Some(self.child), WaitOptions::empty()))?;
        Ok(Some(status.and_then(|(_, status): (_, WaitStatus)| status.exit_status()).unwrap_or(1)))
    }
}

impl Report {
    /// Reports success. From now on the standard streams lead nowhere, and the working directory is the root, so that
    /// the background keeps nothing of its caller busy.
    ///
    /// # Errors
    ///
    /// What the system calls give.
    pub fn succeed(self) -> io::Result<()> {
        detach()?;
        // The foreground may have been killed.
        match rustix::io::retry_on_intr(|| rustix::io::write(&self.pipe, b"+")) {
            Ok(_) | Err(Errno::PIPE) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
