//! Starts and ends a list of entries, as lines of text or as a JSON array; the callers write the entries.

use std::io::{self, Write};

use crate::json::ArrayWriter;

/// Writer of a list of entries.
#[derive(Debug)]
pub(crate) enum ListOutput<W: Write> {
    /// Writes lines of text.
    Text(W),
    /// Writes an array of JSON objects.
    Json(ArrayWriter<W>),
}

impl<W: Write> ListOutput<W> {
    /// Starts the output, as JSON if `json` is set.
    pub(crate) fn new(json: bool, out: W) -> Self {
        if json { ListOutput::Json(ArrayWriter::new(out)) } else { ListOutput::Text(out) }
    }

    /// Ends the output and flushes it.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            ListOutput::Text(mut out) => out.flush(),
            ListOutput::Json(array) => array.finish(),
        }
    }
}
