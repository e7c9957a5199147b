//! Importing a layer: the archive is read once, its files become objects, the rest becomes a stream.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use super::FileData;
use super::entries::{ContentError, Entries, INLINE_MAX, LayerBytes, LayerReadError};
use super::entry_log::EntryLog;
use super::sink::{LayerSink, file_data};
use super::sparse::SparseExpander;
use crate::stream::StreamWriter;
use crate::tar::{Limits, TarEntry, TarError, TarParser};
use crate::{BlobDigest, BlobHasher};

/// Size of the buffer of an archive, in bytes.
const BUFFER: usize = 256 << 10;

/// A layer whose archive was read.
#[derive(Debug)]
pub struct ImportedLayer {
    /// The digest of the archive.
    pub diff_id: BlobDigest,
    /// The size of the archive, in bytes.
    pub size: u64,
    /// Number of entries.
    pub entries: u64,
    /// The stream of the layer, without its tables.
    pub stream: StreamWriter,
    /// The expanded contents of sparse files, by the number of the entry, from 1.
    pub expanded: ExpandedFiles,
}

/// The expanded contents of the sparse files of a layer, by the number of the entry, from 1.
pub type ExpandedFiles = HashMap<u64, FileData>;

/// Reads the archive of a layer. Contents of files go to `sink`; nothing has a name before the caller has compared the
/// returned diff ID with the expected one.
///
/// # Errors
///
/// If the archive cannot be read, breaks a rule or has more than `size_max` bytes, or an object cannot be stored.
pub fn import_layer(
    archive: &mut dyn Read,
    sink: &dyn LayerSink,
    limits: Limits,
    size_max: u64,
) -> Result<ImportedLayer, LayerReadError> {
    let mut stream = StreamWriter::new(sink.algorithm()).map_err(LayerReadError::Read)?;
    let read = read_entries(archive, (sink, Some(&mut stream)), limits, size_max, |_, _| {})?;
    let ReadEntries { diff_id, size, entries, expanded } = read;
    Ok(ImportedLayer { diff_id, size, entries, stream, expanded })
}

/// A layer whose archive was read, but which is not stored.
#[derive(Debug)]
pub(crate) struct LoggedLayer {
    /// The digest of the archive.
    pub(crate) diff_id: BlobDigest,
    /// The size of the archive, in bytes.
    pub(crate) size: u64,
    /// The entries.
    pub(crate) log: EntryLog,
}

/// Reads the archive of a layer as [`import_layer`] does, and keeps its entries in place of a stream.
pub(crate) fn log_layer(
    archive: &mut dyn Read,
    sink: &dyn LayerSink,
    limits: Limits,
    size_max: u64,
) -> Result<LoggedLayer, LayerReadError> {
    let mut log = EntryLog::default();
    let read = read_entries(archive, (sink, None), limits, size_max, |entry, data| log.push(entry, data))?;
    Ok(LoggedLayer { diff_id: read.diff_id, size: read.size, log })
}

/// What was read of an archive.
struct ReadEntries {
    diff_id: BlobDigest,
    size: u64,
    entries: u64,
    expanded: ExpandedFiles,
}

/// Reads an archive. Contents of files go to the sink, and all other bytes to the stream, if there is one.
fn read_entries(
    archive: &mut dyn Read,
    (sink, stream): (&dyn LayerSink, Option<&mut StreamWriter>),
    limits: Limits,
    size_max: u64,
    mut take: impl FnMut(&TarEntry, &FileData),
) -> Result<ReadEntries, LayerReadError> {
    let archive = ArchiveReader {
        input: archive,
        buffer: vec![0; BUFFER],
        start: 0,
        end: 0,
        hasher: BlobHasher::default(),
        size: 0,
        size_max,
        failed: None,
    };
    let bytes = ImportBytes { archive, stream, sink, expanded: ExpandedFiles::new(), expanded_size: 0, entry: 0 };
    let mut entries = Entries::new(TarParser::new(limits), bytes);
    while let Some((entry, data)) = entries.next()? {
        let number = entries.count();
        entries.bytes.entry = number;
        take(&entry, entries.bytes.expanded.get(&number).unwrap_or(&data));
    }
    let count = entries.count();
    let mut bytes = entries.bytes;
    // What follows the end of the archive is a part of it, as the diff ID covers it.
    while bytes.skip(u64::MAX)? > 0 {}
    let ImportBytes { archive, expanded, .. } = bytes;
    Ok(ReadEntries { diff_id: archive.hasher.finish(), size: archive.size, entries: count, expanded })
}

/// The archive, buffered, hashed and counted.
struct ArchiveReader<'a> {
    input: &'a mut dyn Read,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    hasher: BlobHasher,
    size: u64,
    size_max: u64,
    /// The error of reading, which the store would report as its own.
    failed: Option<LayerReadError>,
}

impl ArchiveReader<'_> {
    fn fail(&mut self, error: LayerReadError) -> io::Error {
        self.failed = Some(error);
        io::Error::other("the layer cannot be read")
    }
}

impl Read for ArchiveReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let len = piece.len().min(buffer.len());
        buffer[..len].copy_from_slice(&piece[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl BufRead for ArchiveReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            let len = loop {
                match self.input.read(&mut self.buffer) {
                    Ok(len) => break len,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(self.fail(LayerReadError::Read(error))),
                }
            };
            self.size += len as u64;
            if self.size > self.size_max {
                return Err(self.fail(LayerReadError::TooLarge(self.size_max)));
            }
            self.hasher.update(&self.buffer[..len]);
            self.end = len;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, len: usize) {
        self.start += len;
    }
}

/// The bytes of an archive that becomes a stream.
struct ImportBytes<'a> {
    archive: ArchiveReader<'a>,
    /// `None` if no stream is made.
    stream: Option<&'a mut StreamWriter>,
    sink: &'a dyn LayerSink,
    expanded: ExpandedFiles,
    /// The size of all expanded files, in bytes.
    expanded_size: u64,
    /// The number of entries that were read.
    entry: u64,
}

impl ImportBytes<'_> {
    /// Turns an error into that of reading the archive, if there was one.
    fn cause(&mut self, error: impl Into<LayerReadError>) -> LayerReadError {
        self.archive.failed.take().unwrap_or_else(|| error.into())
    }

    fn piece(&mut self) -> Result<&[u8], LayerReadError> {
        if let Err(error) = self.archive.fill_buf() {
            return Err(self.cause(LayerReadError::Read(error)));
        }
        Ok(&self.archive.buffer[self.archive.start..self.archive.end])
    }

    /// Stores the content of a sparse file twice: as it is in the archive, for the stream, and expanded.
    fn sparse(&mut self, entry: &TarEntry) -> Result<(), ContentError> {
        let Self { archive, stream, sink, .. } = self;
        let Some(map) = &entry.sparse else { return Ok(()) };
        let size = entry.stored_size;
        // The kernel reads all of an object when fs-verity is enabled, holes too.
        self.expanded_size = self.expanded_size.saturating_add(map.size);
        if self.expanded_size > archive.size_max {
            return Err(ContentError::Other(LayerReadError::TooLarge(archive.size_max)));
        }
        let mut expander = SparseExpander::new(map, size);
        // The first error, which the sinks report as their own.
        let (mut wrong, mut failed) = (None, None);
        let (mut inline, mut left) = (Vec::new(), size);
        let mut stored = None;
        let expanded = file_data(map.size, *sink, &mut |out| {
            let mut copy = |keep: &mut dyn FnMut(&[u8]) -> io::Result<()>| -> io::Result<()> {
                while left > 0 {
                    let piece = archive.fill_buf()?;
                    if piece.is_empty() {
                        wrong = Some(TarError::TruncatedData(left));
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let len = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    keep(&piece[..len])?;
                    expander.take(&piece[..len], out).inspect_err(|error| wrong = error.rule())?;
                    archive.consume(len);
                    left -= len as u64;
                }
                Ok(())
            };
            if size <= INLINE_MAX {
                copy(&mut |piece| {
                    inline.extend_from_slice(piece);
                    Ok(())
                })?;
            } else {
                let put = sink.put_pieces(&mut |stored| copy(&mut |piece| stored.bytes(piece)));
                stored = Some(put.map_err(|error| {
                    failed = Some(error);
                    io::Error::other("the stored form cannot be stored")
                })?);
            }
            Ok(expander.finish(out).inspect_err(|error| wrong = error.rule())?)
        });
        let expanded = match (expanded, wrong, failed) {
            (_, Some(error), _) => return Err(ContentError::Tar(error)),
            (Err(_), None, Some(error)) | (Err(error), None, None) => {
                return Err(ContentError::Other(self.cause(error)));
            }
            (Ok(data), None, _) => data,
        };
        if let Some(stream) = stream {
            let put = match stored {
                Some(digest) => stream.object(digest, size),
                None => stream.inline(&inline),
            };
            put.map_err(LayerReadError::Read)?;
        }
        self.expanded.insert(self.entry + 1, expanded);
        Ok(())
    }
}

impl LayerBytes for ImportBytes<'_> {
    fn raw(&mut self, buffer: &mut [u8]) -> Result<usize, LayerReadError> {
        let mut len = 0;
        while len < buffer.len() {
            let piece = self.piece()?;
            let now = piece.len().min(buffer.len() - len);
            if now == 0 {
                break;
            }
            buffer[len..len + now].copy_from_slice(&piece[..now]);
            self.archive.consume(now);
            len += now;
        }
        if let Some(stream) = &mut self.stream {
            stream.inline(&buffer[..len]).map_err(LayerReadError::Read)?;
        }
        Ok(len)
    }

    fn skip(&mut self, len: u64) -> Result<u64, LayerReadError> {
        let mut left = len;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(self.piece()?.len());
            if now == 0 {
                break;
            }
            let Self { archive, stream, .. } = self;
            let start = archive.start;
            if let Some(stream) = stream {
                stream.inline(&archive.buffer[start..start + now]).map_err(LayerReadError::Read)?;
            }
            archive.consume(now);
            left -= now as u64;
        }
        Ok(len - left)
    }

    fn content(&mut self, entry: &TarEntry) -> Result<FileData, ContentError> {
        let size = entry.stored_size;
        if entry.sparse.is_some() {
            self.sparse(entry)?;
            return Ok(FileData::Inline(Vec::new()));
        }
        if size <= INLINE_MAX {
            let mut content = vec![0; usize::try_from(size).unwrap_or_default()];
            let len = self.raw(&mut content)?;
            if len < content.len() {
                return Err(ContentError::Tar(TarError::TruncatedData(size - len as u64)));
            }
            if !content.is_empty() {
                self.sink.short(&content);
            }
            return Ok(FileData::Inline(content));
        }
        let before = self.archive.size - (self.archive.end - self.archive.start) as u64;
        let digest = match self.sink.put(size, &mut self.archive) {
            Ok(digest) => digest,
            Err(error) => {
                let read = self.archive.size - (self.archive.end - self.archive.start) as u64 - before;
                let is_end = self.archive.failed.is_none() && self.archive.start == self.archive.end && read < size;
                if is_end && self.archive.fill_buf().is_ok_and(<[u8]>::is_empty) {
                    return Err(ContentError::Tar(TarError::TruncatedData(size - read)));
                }
                return Err(ContentError::Other(self.cause(error)));
            }
        };
        if let Some(stream) = &mut self.stream {
            stream.object(digest, size).map_err(LayerReadError::Read)?;
        }
        Ok(FileData::Object(digest, size))
    }
}
