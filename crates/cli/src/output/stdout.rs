//! Standard output: one buffer, and what became of writing it.

use std::fmt::{self, Arguments};
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libcomposefs_sys::stdio::stdout_is_closed;
use rustix::io::Errno;
use rustix::stdio::stdout;

use super::escape::escaped;

/// More than this is not kept back.
const BUFFER: usize = 1 << 16;

/// How long to wait for a reader where the kernel does not.
const AGAIN: Duration = Duration::from_millis(1);

static STATE: Mutex<State> = Mutex::new(State { buffer: Vec::new(), failed: None, is_told: false });

struct State {
    buffer: Vec<u8>,
    /// The first failure. Nothing is written any more behind it.
    failed: Option<Unwritable>,
    /// Whether a message was printed about it.
    is_told: bool,
}

/// Standard output cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unwritable(Errno);

impl Unwritable {
    /// Whether nobody reads it any more.
    fn is_closed_pipe(self) -> bool {
        self.0 == Errno::PIPE
    }
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to standard output: {}", io::Error::from(self.0))
    }
}

impl std::error::Error for Unwritable {}

impl From<Unwritable> for io::Error {
    fn from(unwritable: Unwritable) -> Self {
        io::Error::new(io::Error::from(unwritable.0).kind(), unwritable)
    }
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Unwritable> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() > BUFFER {
            return self.pass_on(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        self.failed.map_or(Ok(()), Err)
    }

    fn flush(&mut self) -> Result<(), Unwritable> {
        let buffer = std::mem::take(&mut self.buffer);
        let done = self.pass_on(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        done
    }

    fn pass_on(&mut self, bytes: &[u8]) -> Result<(), Unwritable> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        write_all(bytes).map_err(|errno| *self.failed.insert(Unwritable(errno)))
    }
}

/// `std::io::stdout` takes a closed descriptor for one that takes everything.
fn write_all(mut bytes: &[u8]) -> Result<(), Errno> {
    if !bytes.is_empty() && stdout_is_closed() {
        return Err(Errno::BADF);
    }
    while !bytes.is_empty() {
        match rustix::io::write(stdout(), bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Another process with the same pipe made it non-blocking, and the reader is slow.
            Err(Errno::AGAIN) => std::thread::sleep(AGAIN),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Appends bytes, which are written when there are many of them or by [`flush`].
pub(super) fn write(bytes: &[u8]) -> io::Result<()> {
    Ok(state().write(bytes)?)
}

/// Writes bytes at once. That this fails is the caller's concern alone.
pub(super) fn try_write(bytes: &[u8]) -> Result<(), Unwritable> {
    let mut state = state();
    state.flush()?;
    write_all(bytes).map_err(Unwritable)
}

/// Writes what is buffered.
pub(crate) fn flush() -> io::Result<()> {
    Ok(state().flush()?)
}

/// Prints a line at once: see [`out!`]. [`finish`] tells if that failed.
pub(crate) fn line(text: Arguments<'_>) {
    let line = escaped(&text.to_string()) + "\n";
    let mut state = state();
    let _ = state.write(line.as_bytes()).and_then(|()| state.flush());
}

/// Whether it is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether an error says that standard output cannot be written: then nothing that is printed arrives any more.
pub(crate) fn is_unwritable(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| unwritable(cause).is_some())
}

fn unwritable(error: &(dyn std::error::Error + 'static)) -> Option<Unwritable> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let inner = inner.and_then(|inner| inner.downcast_ref::<Unwritable>());
    inner.or_else(|| error.downcast_ref()).copied()
}

/// Whether an error needs no message, as the reader of standard output has gone. Another error of standard output counts as told.
pub(crate) fn needs_no_message(error: &anyhow::Error) -> bool {
    let Some(unwritable) = error.chain().find_map(unwritable) else { return false };
    state().is_told = true;
    unwritable.is_closed_pipe()
}

/// Ends the program's output. If some of it could not be written the status is 1, whatever came of the rest, and that is told.
pub(crate) fn finish(program: &str, status: ExitCode) -> ExitCode {
    let mut state = state();
    let _ = state.flush();
    let Some(failed) = state.failed else { return status };
    let is_told = state.is_told || failed.is_closed_pipe();
    drop(state);
    if !is_told {
        tell!("{program}: {failed}");
    }
    ExitCode::FAILURE
}
