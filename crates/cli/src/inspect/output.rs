//! What a command prints: lines of text, or a JSON array.

use std::io::{self, Write};

use crate::json::ArrayWriter;

/// Where it goes.
#[derive(Debug)]
pub(crate) enum Lines<W: Write> {
    /// Lines.
    Text(W),
    /// An array of objects.
    Json(ArrayWriter<W>),
}

impl<W: Write> Lines<W> {
    /// Begins.
    pub(crate) fn new(json: bool, out: W) -> Self {
        if json { Lines::Json(ArrayWriter::new(out)) } else { Lines::Text(out) }
    }

    /// Ends.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Lines::Text(mut out) => out.flush(),
            Lines::Json(array) => array.finish(),
        }
    }
}
