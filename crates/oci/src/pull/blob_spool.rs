//! A copy of a blob on disk, as long as a record of it is tried, so that the blob is not fetched again.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use libcomposefs_repo::Repository;
use libcomposefs_sys::tempfile::Temporary;

/// Size of the buffer of a reader, in bytes.
const BUFFER: usize = 64 << 10;

/// A copy of a blob, which is removed when it is dropped.
#[derive(Debug)]
pub(super) struct BlobSpool {
    file: File,
    _temporary: Temporary,
}

impl BlobSpool {
    /// Makes an empty copy in the cache of a repository.
    pub(super) fn create(repository: &Repository) -> io::Result<Self> {
        let cache = repository.make_cache().map_err(io::Error::other)?;
        let temporary = Temporary::create(&Arc::new(cache), 0o600)?;
        Ok(Self { file: File::from(temporary.as_fd().try_clone_to_owned()?), _temporary: temporary })
    }

    /// Reads the copy from its beginning.
    pub(super) fn reader(&self) -> io::Result<BufReader<&File>> {
        (&self.file).seek(SeekFrom::Start(0))?;
        Ok(BufReader::with_capacity(BUFFER, &self.file))
    }
}

/// Reads a blob, and copies what is read.
pub(super) struct SpooledInput<R> {
    pub(super) input: R,
    pub(super) spool: Option<BlobSpool>,
}

impl<R: Read> SpooledInput<R> {
    /// Copies the rest, and returns the copy. Without a copy nothing is read.
    pub(super) fn finish(mut self) -> io::Result<Option<BlobSpool>> {
        if self.spool.is_some() {
            io::copy(&mut self, &mut io::sink())?;
        }
        Ok(self.spool)
    }
}

impl<R: Read> Read for SpooledInput<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        if let Some(spool) = &mut self.spool {
            spool.file.write_all(&buffer[..len])?;
        }
        Ok(len)
    }
}
