//! Being told to end by SIGINT, SIGTERM or SIGHUP: the first time, so that what was begun can be undone.

use std::fs::File;
use std::io::{self, Read};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::exit::done;

/// How long one wait for input lasts before the flag is looked at.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What a shell adds to the number of the signal that ended a program.
const BY_SIGNAL: usize = 128;

/// Set by the first such signal. The second one ends the program at once.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    flag: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// From here on signals are taken.
    pub(crate) fn watch() -> Self {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = signal.unsigned_abs() as usize;
            // In this order: the first signal finds the flag unset. Where no handler can be had the signal does what it always did.
            let _ = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&interrupt.flag));
            let _ = flag::register_usize(signal, Arc::clone(&interrupt.signal), number);
            let _ = flag::register(signal, Arc::clone(&interrupt.flag));
        }
        interrupt
    }

    /// To be looked at by what can be given up.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// Reads a file so that waiting for a pipe, a FIFO or a terminal ends when a signal comes.
    pub(crate) fn reads(&self, file: File) -> Watched {
        Watched { file, flag: self.flag() }
    }

    /// The status of a command: of one that was given up it tells the signal.
    pub(crate) fn end(&self, result: anyhow::Result<()>) -> ExitCode {
        let is_given_up = result.is_err() && self.flag.load(Ordering::Relaxed);
        let status = done(result);
        let signal = self.signal.load(Ordering::Relaxed);
        if is_given_up { u8::try_from(BY_SIGNAL + signal).map_or(status, ExitCode::from) } else { status }
    }
}

/// A file whose reading is given up when the first signal comes. The handlers restart system calls, so a read that waits for
/// a writer would go on waiting.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The file itself, to be read without looking at the flag.
    pub(crate) file: File,
    flag: Arc<AtomicBool>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.flag.load(Ordering::Relaxed) {
                // Not `ErrorKind::Interrupted`: callers try that again.
                return Err(io::Error::other("interrupted"));
            }
            match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&WAIT)) {
                Ok(0) | Err(Errno::INTR) => continue,
                // What cannot be polled does not wait either.
                Ok(_) | Err(_) => {}
            }
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}
