//! Files of `composefs trace`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use libcomposefs_delivery::{TRACE_FILE_MAX, Trace};

/// Reads the file of a trace.
pub(crate) fn read_trace(path: &Path) -> anyhow::Result<Trace> {
    let cannot_read = || format!("cannot read the trace {}", path.display());
    let mut text = Vec::new();
    let file = File::open(path).with_context(cannot_read)?;
    file.take(TRACE_FILE_MAX + 1).read_to_end(&mut text).with_context(cannot_read)?;
    ensure!(text.len() as u64 <= TRACE_FILE_MAX, "{} is too long for a trace", path.display());
    Trace::parse(&text).with_context(|| format!("{} is no trace", path.display()))
}
