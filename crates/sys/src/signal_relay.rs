//! Passes signals that other processes send on to a child, and waits for the child.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::ptr;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait as wait_any, waitpid};

/// Signals that are passed on. The others keep their action.
const RELAYED: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGWINCH,
];

/// Time after which the end of the child is looked for although no signal came: if the process has other threads,
/// one of them can take SIGCHLD.
const LOOK_AGAIN: libc::timespec = libc::timespec { tv_sec: 1, tv_nsec: 0 };

/// Signals that wait until a child takes them. As long as this exists, they do not end the process.
#[derive(Debug)]
pub struct SignalRelay {
    waiting: libc::sigset_t,
    before: libc::sigset_t,
}

impl SignalRelay {
    /// Blocks the signals in the calling thread and in those that it starts afterwards. The process must not have other
    /// threads: they would still take the signals, and the end of a child would be seen up to a second late.
    ///
    /// # Errors
    ///
    /// What `pthread_sigmask` gives.
    pub fn block() -> io::Result<Self> {
        let mut waiting = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: the pointers are to memory of the right type, which `sigemptyset` and `pthread_sigmask` initialize;
        // the signal numbers are valid. The action of SIGCHLD is set to the default one, which runs no code.
        unsafe {
            libc::sigemptyset(waiting.as_mut_ptr());
            for signal in RELAYED.into_iter().chain([libc::SIGCHLD]) {
                libc::sigaddset(waiting.as_mut_ptr(), signal);
            }
            // With SIG_IGN, which is inherited, the kernel would keep no exit status.
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            match libc::pthread_sigmask(libc::SIG_BLOCK, waiting.as_ptr(), before.as_mut_ptr()) {
                0 => Ok(Self { waiting: waiting.assume_init(), before: before.assume_init() }),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }

    /// Starts a child with the signal mask from before [`SignalRelay::block`]. The kernel kills it when the calling
    /// thread ends.
    ///
    /// # Errors
    ///
    /// What [`Command::spawn`] gives.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let before = self.before;
        // SAFETY: between fork and exec the closure calls nothing but `sigprocmask`, which is async-signal-safe, on a
        // copy of the set, and the system call `prctl`.
        unsafe {
            command.pre_exec(move || {
                let unblocked = libc::sigprocmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
                if unblocked != 0 || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        command.spawn()
    }

    /// Waits for the end of the child and passes signals on to it. Signals of a terminal are not passed on: the kernel
    /// sends them to the whole process group, and so to the child. `size_changed` is called for each SIGWINCH, from
    /// wherever it comes.
    ///
    /// # Errors
    ///
    /// What `wait4` and `sigwaitinfo` give.
    pub fn wait(&self, child: &mut Child, mut size_changed: impl FnMut(&Child)) -> io::Result<ExitStatus> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            let Some((signal, is_of_kernel)) = self.next(LOOK_AGAIN)? else { continue };
            if signal == libc::SIGWINCH {
                size_changed(child);
            }
            if signal == libc::SIGCHLD || is_of_kernel {
                continue;
            }
            if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
                // The child was not waited for yet, so that the number is still its own.
                let _ = kill_process(pid, signal);
            }
        }
    }

    /// Waits for the end of a process, passes signals on to it, and returns its status: its own, or 128 plus the number
    /// of the signal that ended it. With `reap_all`, as process 1 must, other processes that end are waited for too.
    ///
    /// # Errors
    ///
    /// What `waitpid` and `sigtimedwait` give.
    pub fn wait_process(&self, process: Pid, reap_all: bool) -> io::Result<u8> {
        let ended =
            || if reap_all { wait_any(WaitOptions::NOHANG) } else { waitpid(Some(process), WaitOptions::NOHANG) };
        loop {
            while let Some((ended, status)) = ended()? {
                if ended == process {
                    let signal = || status.terminating_signal().map(|signal| 128 + signal);
                    let status = status.exit_status().or_else(signal);
                    return Ok(status.and_then(|status| u8::try_from(status).ok()).unwrap_or(u8::MAX));
                }
            }
            let Some((signal, is_of_kernel)) = self.next(LOOK_AGAIN)? else { continue };
            if signal == libc::SIGCHLD || is_of_kernel {
                continue;
            }
            if let Some(signal) = Signal::from_named_raw(signal) {
                // The process was not waited for yet, so that the number is still its own.
                let _ = kill_process(process, signal);
            }
        }
    }

    /// Takes the next signal, and reports whether the kernel itself sent it. Returns `None` if there is no signal for
    /// the time of `timeout`.
    fn next(&self, timeout: libc::timespec) -> io::Result<Option<(i32, bool)>> {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        loop {
            // SAFETY: the set and the timeout are initialized, and `info` has the type that the call fills.
            let signal = unsafe { libc::sigtimedwait(&raw const self.waiting, info.as_mut_ptr(), &raw const timeout) };
            if signal > 0 {
                // SAFETY: zeroed and then filled by the successful call.
                let code = unsafe { info.assume_init() }.si_code;
                return Ok(Some((signal, code > 0)));
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(None),
                io::ErrorKind::Interrupted => {}
                _ => return Err(error),
            }
        }
    }
}

impl Drop for SignalRelay {
    fn drop(&mut self) {
        // Signals that came after the end of the child are discarded.
        while let Ok(Some(_)) = self.next(libc::timespec { tv_sec: 0, tv_nsec: 0 }) {}
        // SAFETY: the set was filled by `pthread_sigmask`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Stdio;

    #[test]
    fn a_signal_reaches_the_child_and_not_the_caller() {
        let relay = SignalRelay::block().unwrap();
        // SAFETY: sends a signal to the calling thread, which blocks it.
        let send = |signal| unsafe { libc::pthread_kill(libc::pthread_self(), signal) };
        assert_eq!(send(libc::SIGTERM), 0);
        let mut child = relay.spawn(Command::new("sleep").arg("1000")).unwrap();
        assert_eq!(relay.wait(&mut child, |_| ()).unwrap().signal(), Some(libc::SIGTERM));

        // The child ends when its input ends, which the call for SIGWINCH does: it cannot end before that call.
        let mut until_called = Command::new("timeout");
        until_called.args(["60", "sh", "-c", "cat; exit 7"]).stdin(Stdio::piped());
        let mut child = relay.spawn(&mut until_called).unwrap();
        let mut input = child.stdin.take();
        let mut changes = 0;
        assert_eq!(send(libc::SIGWINCH), 0);
        let status = relay.wait(&mut child, |_| {
            changes += 1;
            input.take();
        });
        assert_eq!((status.unwrap().code(), changes), (Some(7), 1));

        // Survives both: pending signals end with the relay.
        assert_eq!(send(libc::SIGHUP), 0);
        drop(relay);
    }
}
