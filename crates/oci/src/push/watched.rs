//! A content whose reading is reported, and ends when the push is cancelled or another layer has failed.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use super::PushProgress;
use crate::destination::BlobContent;

/// A content that is read for the layer of a number.
pub(super) struct WatchedContent<'a> {
    pub(super) content: &'a dyn BlobContent,
    pub(super) number: usize,
    pub(super) progress: &'a dyn PushProgress,
    /// Each ends reading when it is set.
    pub(super) flags: [&'a AtomicBool; 2],
}

impl BlobContent for WatchedContent<'_> {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(WatchedReader { reader: self.content.open()?, watched: self, at: 0 }))
    }
}

struct WatchedReader<'a> {
    reader: Box<dyn Read + Send + 'a>,
    watched: &'a WatchedContent<'a>,
    at: u64,
}

impl Read for WatchedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.watched.flags.iter().any(|flag| flag.load(Ordering::Relaxed)) {
            // Not `ErrorKind::Interrupted`: callers retry on that.
            return Err(io::Error::other("interrupted"));
        }
        let len = self.reader.read(buffer)?;
        self.at += len as u64;
        self.watched.progress.position(self.watched.number, self.at);
        Ok(len)
    }
}
