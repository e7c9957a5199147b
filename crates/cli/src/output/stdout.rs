//! Standard output: its buffer, and the first error of writing to it.

use std::fmt::{self, Arguments};
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libcomposefs_sys::stdio::stdout_is_closed;
use rustix::io::Errno;
use rustix::stdio::stdout;

use super::escape::escaped;

/// Size of the buffer in bytes.
const BUFFER: usize = 1 << 16;

/// Delay before a write to a full non-blocking pipe is retried.
const AGAIN: Duration = Duration::from_millis(1);

static STATE: Mutex<StdoutState> = Mutex::new(StdoutState { buffer: Vec::new(), failed: None, is_told: false });

struct StdoutState {
    buffer: Vec<u8>,
    /// The first failure. Nothing is written after it.
    failed: Option<Unwritable>,
    /// True once a message about the failure was printed.
    is_told: bool,
}

/// Error of writing to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unwritable(Errno);

impl Unwritable {
    /// Returns true if standard output is a pipe whose reader has closed it.
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

fn state() -> MutexGuard<'static, StdoutState> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StdoutState {
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

/// Writes all bytes. `std::io::stdout` reports success for a closed descriptor; this returns an error.
fn write_all(mut bytes: &[u8]) -> Result<(), Errno> {
    if !bytes.is_empty() && stdout_is_closed() {
        return Err(Errno::BADF);
    }
    while !bytes.is_empty() {
        match rustix::io::write(stdout(), bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Another process that shares the pipe has made it non-blocking, and the reader is slow.
            Err(Errno::AGAIN) => std::thread::sleep(AGAIN),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Appends bytes to the buffer, which is written when it is full, or by [`flush`].
pub(super) fn write(bytes: &[u8]) -> io::Result<()> {
    Ok(state().write(bytes)?)
}

/// Writes bytes at once. A failure is only returned, not recorded.
pub(super) fn try_write(bytes: &[u8]) -> Result<(), Unwritable> {
    let mut state = state();
    state.flush()?;
    write_all(bytes).map_err(Unwritable)
}

/// Writes the buffered bytes.
pub(crate) fn flush() -> io::Result<()> {
    Ok(state().flush()?)
}

/// Prints a line at once; see [`out!`]. [`finish`] reports a failure.
pub(crate) fn line(text: Arguments<'_>) {
    let line = escaped(&text.to_string()) + "\n";
    let mut state = state();
    let _ = state.write(line.as_bytes()).and_then(|()| state.flush());
}

/// Returns true if standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Returns true if an error was caused by writing to standard output: then further output would fail too.
pub(crate) fn is_unwritable(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| unwritable(cause).is_some())
}

fn unwritable(error: &(dyn std::error::Error + 'static)) -> Option<Unwritable> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let inner = inner.and_then(|inner| inner.downcast_ref::<Unwritable>());
    inner.or_else(|| error.downcast_ref()).copied()
}

/// Returns true if an error needs no message because the reader of standard output has closed the pipe. Any error of
/// standard output is recorded as reported, because the caller prints it.
pub(crate) fn needs_no_message(error: &anyhow::Error) -> bool {
    let Some(unwritable) = error.chain().find_map(unwritable) else { return false };
    state().is_told = true;
    unwritable.is_closed_pipe()
}

/// Flushes the output at the end of the program. If some of it could not be written, reports that and returns status 1
/// in place of `status`.
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
