//! Standard output as an [`io::Write`], for what is text and for what is not.

use std::io::{self, Write};

use serde::Serialize;

use super::escape::{push_escaped_bytes, push_json};
use super::stdout::{self, Unwritable};

/// Bytes as they are: contents, images, bundles, and text of which every name was escaped.
#[derive(Debug)]
pub(crate) struct Data(());

/// See [`Data`]. `cargo xtask tidy` has the list of files that may ask for it.
pub(crate) fn data() -> Data {
    Data(())
}

impl Write for Data {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        stdout::write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        stdout::flush()
    }
}

/// Lines for people and for scripts: bytes as they are, except on a terminal, which gets nothing that it obeys.
#[derive(Debug)]
pub(crate) struct Text {
    data: Data,
    /// On a terminal: the line that is not whole yet.
    line: Option<Vec<u8>>,
}

/// See [`Text`].
pub(crate) fn text() -> Text {
    Text { data: Data(()), line: stdout::is_terminal().then(Vec::new) }
}

impl Write for Text {
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

impl Drop for Text {
    fn drop(&mut self) {
        // What fails is kept, and told at the end of the program.
        let _ = self.flush();
    }
}

/// JSON text on its way: with `\uXXXX` for what a terminal would obey.
#[derive(Debug)]
pub(crate) struct Json<W>(pub(crate) W);

impl<W: Write> Write for Json<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The serializer never writes a part of a character.
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

/// Prints a report as JSON at once. [`finish`](stdout::finish) tells if that failed.
pub(crate) fn json(report: &impl Serialize) {
    let mut out = data();
    let _ = crate::json::write_pretty(&mut out, report).and_then(|()| out.flush());
}

/// The same in one line.
pub(crate) fn json_line(report: &impl Serialize) {
    let mut out = data();
    let _ = crate::json::write_line(&mut out, report).and_then(|()| out.flush());
}

/// Prints text of several lines, which are the program's own words with nothing else in them that could be a newline.
pub(crate) fn block(text: &str) {
    let _ = stdout::write(lines(text).as_bytes()).and_then(|()| stdout::flush());
}

/// The same for text that nobody relies on: if it cannot be printed the command has not failed, and the caller says so.
pub(crate) fn remark(text: &str) -> Result<(), Unwritable> {
    stdout::try_write(lines(text).as_bytes())
}

fn lines(text: &str) -> String {
    let mut lines = String::new();
    push_escaped_bytes(text.as_bytes(), &mut lines);
    lines
}
