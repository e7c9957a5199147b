//! Standard output as an [`io::Write`], for text and for raw bytes.

use std::io::{self, Write};

use serde::Serialize;

use super::escape::{push_escaped_bytes, push_json};
use super::stdout::{self, Unwritable};

/// Writes bytes unchanged: contents, images, bundles, and text in which all names have been escaped.
#[derive(Debug)]
pub(crate) struct RawOutput(());

/// Returns a writer of raw bytes. `cargo xtask tidy` has the list of files that may use it.
pub(crate) fn data() -> RawOutput {
    RawOutput(())
}

impl Write for RawOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        stdout::write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        stdout::flush()
    }
}

/// Writes lines for people and scripts: bytes unchanged, except on a terminal, where control characters are escaped.
#[derive(Debug)]
pub(crate) struct TextOutput {
    data: RawOutput,
    /// On a terminal: the current line, until it is complete.
    line: Option<Vec<u8>>,
}

/// Returns a writer of lines of text.
pub(crate) fn text() -> TextOutput {
    TextOutput { data: RawOutput(()), line: stdout::is_terminal().then(Vec::new) }
}

impl Write for TextOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(line) = &mut self.line else { return self.data.write(bytes) };
        line.extend_from_slice(bytes);
        if let Some(end) = line.iter().rposition(|byte| *byte == b'\n') {
            let mut lines = String::new();
            push_escaped_bytes(&line[..=end], &mut lines);
            line.drain(..=end);
            self.data.write_all(lines.as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(line) = &mut self.line {
            let mut rest = String::new();
            push_escaped_bytes(&std::mem::take(line), &mut rest);
            self.data.write_all(rest.as_bytes())?;
        }
        self.data.flush()
    }
}

impl Drop for TextOutput {
    fn drop(&mut self) {
        // A failure is recorded and reported at the end of the program.
        let _ = self.flush();
    }
}

/// Writes JSON text, with characters that control a terminal as `\uXXXX`.
#[derive(Debug)]
pub(crate) struct Json<W>(pub(crate) W);

impl<W: Write> Write for Json<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The serializer never splits a character between two writes.
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        let mut out = Vec::with_capacity(bytes.len());
        push_json(text, &mut out);
        self.0.write_all(&out)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Prints a report as JSON at once. [`finish`](stdout::finish) reports a failure.
pub(crate) fn json(report: &impl Serialize) {
    let mut out = data();
    let _ = crate::json::write_pretty(&mut out, report).and_then(|()| out.flush());
}

/// Prints a report as one line of JSON at once. [`finish`](stdout::finish) reports a failure.
pub(crate) fn json_line(report: &impl Serialize) {
    let mut out = data();
    let _ = crate::json::write_line(&mut out, report).and_then(|()| out.flush());
}

/// Prints the program's own text of several lines. It must not contain names, which could include newlines.
pub(crate) fn block(text: &str) {
    let _ = stdout::write(lines(text).as_bytes()).and_then(|()| stdout::flush());
}

/// Prints text like [`block`], but returns a failure instead of recording it, for text that is not essential: the
/// command still succeeds.
pub(crate) fn remark(text: &str) -> Result<(), Unwritable> {
    stdout::try_write(lines(text).as_bytes())
}

fn lines(text: &str) -> String {
    let mut lines = String::new();
    push_escaped_bytes(text.as_bytes(), &mut lines);
    lines
}
