//! Handling of SIGINT, SIGTERM and SIGHUP: the first signal cancels the command so that it can undo its work; the
//! second one terminates the process.

use std::fs::File;
use std::io::{self, Read};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::exit::exit_status;

/// Timeout of one wait for input, after which the flag is checked.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Value that is added to a signal's number to form the exit status, as shells do.
const BY_SIGNAL: usize = 128;

/// The flag of the command, for what waits deep below it.
static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Returns the flag of the command if it handles signals.
#[cfg(feature = "network")]
pub(crate) fn flag_of_command() -> Option<Arc<AtomicBool>> {
    FLAG.get().cloned()
}

/// State that the signal handlers set. The first signal sets the flag; the second one terminates the process at once.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    flag: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Installs the signal handlers.
    pub(crate) fn watch() -> Self {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = signal.unsigned_abs() as usize;
            // The order matters: the first signal must find the flag unset. If a handler cannot be installed, the
            // signal keeps its default action.
            let _ = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&interrupt.flag));
            let _ = flag::register_usize(signal, Arc::clone(&interrupt.signal), number);
            let _ = flag::register(signal, Arc::clone(&interrupt.flag));
        }
        FLAG.get_or_init(|| interrupt.flag());
        interrupt
    }

    /// Returns the flag that a cancellable operation must check.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// Wraps a file so that waiting for a pipe, a FIFO or a terminal ends when a signal arrives.
    pub(crate) fn reads(&self, file: File) -> Watched {
        Watched { file, flag: self.flag() }
    }

    /// Prints the error of a command, if any, and returns its status: 128 plus the signal's number if a signal
    /// cancelled it.
    pub(crate) fn end(&self, result: anyhow::Result<()>) -> ExitCode {
        let is_given_up = result.is_err() && self.flag.load(Ordering::Relaxed);
        let status = exit_status(result);
        let signal = self.signal.load(Ordering::Relaxed);
        if is_given_up { u8::try_from(BY_SIGNAL + signal).map_or(status, ExitCode::from) } else { status }
    }
}

/// A file whose reads fail once the first signal has arrived. The handlers restart system calls (`SA_RESTART`), so a
/// plain read that waits for a writer would continue to wait.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The file itself, for reads that ignore the flag.
    pub(crate) file: File,
    flag: Arc<AtomicBool>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.flag.load(Ordering::Relaxed) {
                // Not `ErrorKind::Interrupted`: callers retry on that.
                return Err(io::Error::other("interrupted"));
            }
            match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&WAIT)) {
                Ok(0) | Err(Errno::INTR) => continue,
                // Files that do not support polling do not block either.
                Ok(_) | Err(_) => {}
            }
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}
