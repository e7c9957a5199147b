//! A stream of another program, read in pieces because it may be of any size.

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use libcomposefs_content::digest_pieces;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_sys::copy::READ_SIZE;

use super::stream::{self, StreamTables};
use super::windows::any_window;
use super::{RepositoryError, io_error};

/// Number of digests that are read at a time.
const AT_ONCE: u64 = 1024;

/// An open stream of another program.
#[derive(Debug)]
pub(crate) struct StreamFile {
    file: File,
    len: u64,
    path: PathBuf,
}

impl StreamFile {
    /// Takes an open stream of `len` bytes; `path` is for messages.
    pub(crate) fn new(file: File, len: u64, path: PathBuf) -> Self {
        Self { file, len, path }
    }

    /// Returns the size of the file.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the content has this digest.
    pub(crate) fn has_digest(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        let found = digest_pieces(self.file.as_fd(), digest.algorithm(), &mut vec![0; READ_SIZE]);
        Ok(found.map_err(io_error("read", &self.path))? == *digest)
    }

    /// Finds the tables, or returns the reason why the stream cannot be interpreted.
    pub(crate) fn tables(&self, algorithm: Algorithm) -> Result<Result<StreamTables, &'static str>, RepositoryError> {
        let read = |offset, buffer: &mut [u8]| self.file.read_exact_at(buffer, offset);
        stream::stream_tables(self.len, algorithm, read).map_err(io_error("read", &self.path))
    }

    /// Passes each digest of a table, whose size is a multiple of `digest_len`, to `show`.
    pub(crate) fn each_digest(
        &self,
        table: Range<u64>,
        digest_len: usize,
        mut show: impl FnMut(&[u8]) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let mut at = table.start;
        while at < table.end {
            let len = (table.end - at).min(AT_ONCE * digest_len as u64);
            let mut piece = vec![0; usize::try_from(len).unwrap_or_default()];
            self.file.read_exact_at(&mut piece, at).map_err(io_error("read", &self.path))?;
            piece.chunks_exact(digest_len).try_for_each(&mut show)?;
            at += len;
        }
        Ok(())
    }

    /// Returns the sequences of `len` bytes, at any offset of the stream, that are wanted, each once.
    pub(crate) fn windows(
        &self,
        len: usize,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<BTreeSet<Vec<u8>>, RepositoryError> {
        let mut found = BTreeSet::new();
        let collect = |window: &[u8]| {
            if is_wanted(window) {
                found.insert(window.to_vec());
            }
            false
        };
        let mut file = &self.file;
        any_window(&mut file, len, collect).map_err(io_error("read", &self.path))?;
        Ok(found)
    }
}
