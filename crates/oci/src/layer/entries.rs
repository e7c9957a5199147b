//! Reading the entries of a layer one by one, from an archive or from a stream.

use std::io;

use super::LayerError;
use super::apply::FileData;
use crate::shown::shown;
use crate::stream::StreamError;
use crate::tar::{BLOCK, EntryKind, TarEntry, TarError, TarParser, TarStep};

/// Contents up to this length are kept in the image and in the stream; longer ones are objects
/// (`docs/format/stream.md`, section 3).
pub const INLINE_MAX: u64 = 64;

/// The reasons why a layer cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerReadError {
    /// The archive breaks a rule of the format.
    #[error("entry {number}{}: {source}", after_path(.path))]
    Tar {
        /// The number of the entry, from 1.
        number: u64,
        /// The path of the entry, if it is known.
        path: Option<String>,
        /// The rule.
        source: TarError,
    },
    /// An entry cannot be applied to the tree.
    #[error("entry {number} ({path:?}): {source}")]
    Entry {
        /// The number of the entry, from 1.
        number: u64,
        /// The path of the entry.
        path: String,
        /// The rule.
        source: LayerError,
    },
    /// The blob cannot be read or decompressed.
    #[error("read the layer: {0}")]
    Read(io::Error),
    /// The stream of the layer cannot be read.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// An object cannot be stored.
    #[error(transparent)]
    Store(#[from] libcomposefs_store::Error),
    /// The archive is larger than the limit.
    #[error("the archive has more than {0} bytes, the limit for this layer; --max-layer-size sets another")]
    TooLarge(u64),
}

fn after_path(path: &Option<String>) -> String {
    path.as_ref().map_or(String::new(), |path| format!(" ({path:?})"))
}

/// The bytes of a layer's archive.
pub(crate) trait LayerBytes {
    /// Reads header blocks and padding. Fills the buffer, except at the end of the archive.
    fn raw(&mut self, buffer: &mut [u8]) -> Result<usize, LayerReadError>;

    /// Passes over bytes that have no meaning. Returns their number, which is smaller only at the end of the archive.
    fn skip(&mut self, len: u64) -> Result<u64, LayerReadError>;

    /// Reads the stored bytes of a regular file with data. `short` is an error for the end of the archive, with the
    /// number of missing bytes.
    fn content(&mut self, entry: &TarEntry) -> Result<FileData, ContentError>;
}

/// The reasons why the content of an entry cannot be read.
pub(crate) enum ContentError {
    Tar(TarError),
    Other(LayerReadError),
}

impl<E: Into<LayerReadError>> From<E> for ContentError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Reads the entries of a layer.
#[derive(Debug)]
pub(crate) struct Entries<B> {
    parser: TarParser,
    pub(crate) bytes: B,
}

impl<B: LayerBytes> Entries<B> {
    pub(crate) fn new(parser: TarParser, bytes: B) -> Self {
        Self { parser, bytes }
    }

    /// Returns the number of entries so far.
    pub(crate) fn count(&self) -> u64 {
        self.parser.entries()
    }

    /// Returns the next entry and the content of a regular file.
    pub(crate) fn next(&mut self) -> Result<Option<(TarEntry, FileData)>, LayerReadError> {
        let mut block = [0; BLOCK];
        loop {
            let len = self.bytes.raw(&mut block)?;
            if len < BLOCK {
                self.parser.end_of_input(&block[..len]).map_err(|error| self.wrong(None, error))?;
                return Ok(None);
            }
            match self.parser.header(&block).map_err(|error| self.wrong(None, error))? {
                TarStep::Header => {}
                TarStep::End => return Ok(None),
                TarStep::Extension(size) => self.extension(size)?,
                TarStep::Entry(entry) => {
                    let data = self.data(&entry)?;
                    return Ok(Some((*entry, data)));
                }
            }
        }
    }

    fn extension(&mut self, size: u64) -> Result<(), LayerReadError> {
        // The parser has checked the size.
        let mut data = vec![0; usize::try_from(size).unwrap_or_default()];
        let len = self.bytes.raw(&mut data)?;
        if len < data.len() {
            return Err(self.wrong(None, TarError::TruncatedData((data.len() - len) as u64)));
        }
        let padding = padding(size);
        if self.bytes.skip(padding)? < padding {
            return Err(self.wrong(None, TarError::TruncatedHeader));
        }
        self.parser.extension(&data).map_err(|error| self.wrong(None, error))
    }

    fn data(&mut self, entry: &TarEntry) -> Result<FileData, LayerReadError> {
        let size = entry.stored_size;
        let mut data = FileData::Inline(Vec::new());
        if size == 0 && entry.sparse.is_none() {
            return Ok(data);
        }
        if entry.kind == EntryKind::File {
            data = self.bytes.content(entry).map_err(|error| match error {
                ContentError::Tar(error) => self.wrong(Some(entry), error),
                ContentError::Other(error) => error,
            })?;
        } else {
            let skipped = self.bytes.skip(size)?;
            if skipped < size {
                return Err(self.wrong(Some(entry), TarError::TruncatedData(size - skipped)));
            }
        }
        // The padding of the last entry may be missing.
        self.bytes.skip(padding(size))?;
        Ok(data)
    }

    fn wrong(&self, entry: Option<&TarEntry>, source: TarError) -> LayerReadError {
        let number = self.parser.entries() + u64::from(entry.is_none());
        LayerReadError::Tar { number, path: entry.map(|entry| shown(&entry.path)), source }
    }

    /// Describes an entry that cannot be applied to the tree.
    pub(crate) fn refused(&self, entry: &TarEntry, source: LayerError) -> LayerReadError {
        LayerReadError::Entry { number: self.parser.entries(), path: shown(&entry.path), source }
    }
}

/// Returns the number of bytes between data of this size and the next block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
