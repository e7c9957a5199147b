//! Output of a command that lists entries, as lines of text or as a JSON array.

use std::io::{self, Write};

use crate::json::ArrayWriter;

/// Writer of a list of entries.
#[derive(Debug)]
pub(crate) enum Lines<W: Write> {
    /// Writes lines of text.
    Text(W),
    /// Writes an array of JSON objects.
    Json(ArrayWriter<W>),
}

impl<W: Write> Lines<W> {
    /// Starts the output, as JSON if `json` is set.
    pub(crate) fn new(json: bool, out: W) -> Self {
        if json { Lines::Json(ArrayWriter::new(out)) } else { Lines::Text(out) }
    }

    /// Ends the output and flushes it.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Lines::Text(mut out) => out.flush(),
            Lines::Json(array) => array.finish(),
        }
    }
}
