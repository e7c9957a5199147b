//! The size of the terminal, at the start of a container and when it changes.
//!
//! crun gives the container a terminal of its own with the size that the bundle names, and keeps that size. runc
//! changes it with the terminal that it runs on.

use std::fs;
use std::io;
use std::process::Child;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use rustix::stdio::stdin;
use rustix::termios::{tcgetwinsize, tcsetwinsize};

/// Returns rows and columns of the terminal that is standard input.
pub(super) fn of_standard_input() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdin()).ok()?;
    Some((size.ws_row, size.ws_col)).filter(|&(rows, columns)| rows > 0 && columns > 0)
}

/// Gives the container's terminal, whose controller the runtime has open, the size of standard input. The kernel then
/// sends SIGWINCH to the processes in its foreground.
///
/// The runtime was not waited for yet, so that its number is still its own.
pub(super) fn pass_on(runtime: &Child) -> io::Result<()> {
    let size = tcgetwinsize(stdin())?;
    let pid = i32::try_from(runtime.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    for entry in fs::read_dir(format!("/proc/{}/fd", runtime.id()))? {
        let entry = entry?;
        // `/dev/ptmx` or `/dev/pts/ptmx`, as the runtime opened it.
        let is_controller = fs::read_link(entry.path()).is_ok_and(|target| target.ends_with("ptmx"));
        if let (true, Some(number)) = (is_controller, entry.file_name().to_str().and_then(|name| name.parse().ok())) {
            tcsetwinsize(pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?, size)?;
        }
    }
    Ok(())
}
