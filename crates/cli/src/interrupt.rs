//! Being told to end by SIGINT, SIGTERM or SIGHUP: the first time, so that what was begun can be undone.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::end::done;

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

    /// The status of a command: of one that was given up it tells the signal.
    pub(crate) fn end(&self, result: anyhow::Result<()>) -> ExitCode {
        let is_given_up = result.is_err() && self.flag.load(Ordering::Relaxed);
        let status = done(result);
        let signal = self.signal.load(Ordering::Relaxed);
        if is_given_up { u8::try_from(BY_SIGNAL + signal).map_or(status, ExitCode::from) } else { status }
    }
}
