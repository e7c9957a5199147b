//! The contents of a layer that is pulled in parts, one after the other in the order of the archive.

use std::io::{self, Read};

use super::fetched::{FetchedError, FetchedRanges};
use super::plan::{ChunkSource, FileSource};
use super::spool::ChunkSpool;
use super::{ChunkData, ChunkedError, ChunkedLayer, LocalContents, NotPartial, PullPlan, TocChunk, TocFile};
use crate::layer::INLINE_MAX;
use crate::tar_split::{ContentOpener, ContentOrigin, ContentProblem, TarSplitFile};
use crate::{BlobDigest, BlobHasher};

pub(super) struct PlannedContents<'p> {
    pub(super) layer: &'p ChunkedLayer,
    pub(super) plan: &'p PullPlan,
    pub(super) local: &'p mut dyn LocalContents,
    pub(super) fetched: FetchedRanges<'p>,
    pub(super) spool: ChunkSpool,
    /// The file that is read, and the index of its next chunk.
    pub(super) file: Option<(&'p TocFile, usize)>,
    pub(super) source: OpenSource,
    /// The hash of a file of several chunks.
    pub(super) hasher: Option<BlobHasher>,
    /// The bytes of a short content.
    pub(super) short: Vec<u8>,
    /// The short contents, which become no objects.
    pub(super) shorts: Vec<(BlobDigest, Vec<u8>)>,
    pub(super) error: Option<ChunkedError>,
}

/// The chunk or content that is read. The numbers are the bytes that are left.
pub(super) enum OpenSource {
    None,
    Zeros(u64),
    Local(Box<dyn Read>, u64),
    Fetched(FetchedChunk),
    Spooled { offset: u64, left: u64 },
}

pub(super) struct FetchedChunk {
    left: u64,
    size: u64,
    digest: BlobDigest,
    hasher: BlobHasher,
    /// The offset in the spool, if the chunk is kept.
    kept: Option<u64>,
}

impl PlannedContents<'_> {
    fn next_source(&mut self) -> Result<bool, ChunkedError> {
        let Some((file, index)) = self.file else { return Ok(false) };
        let (Some(chunk), Some(source)) = (self.layer.toc().chunks().get(index), self.plan.chunks.get(index)) else {
            return Ok(false);
        };
        if !file.chunks.contains(&index) {
            return Ok(false);
        }
        self.file = Some((file, index + 1));
        self.source = self.chunk(chunk, *source)?;
        Ok(true)
    }

    fn chunk(&mut self, chunk: &TocChunk, source: ChunkSource) -> Result<OpenSource, ChunkedError> {
        let size = chunk.size;
        let ChunkData::Bytes(digest) = chunk.data else { return Ok(OpenSource::Zeros(size)) };
        Ok(match source {
            ChunkSource::Zeros => OpenSource::Zeros(size),
            ChunkSource::Local => {
                let (reader, _) = self.local.open(&digest, size).map_err(NotPartial::Local)?;
                OpenSource::Local(reader, size)
            }
            ChunkSource::Repeated => {
                let missing = || ChunkedError::Spool(io::ErrorKind::NotFound.into());
                OpenSource::Spooled { offset: self.spool.find(digest, size).ok_or_else(missing)?, left: size }
            }
            ChunkSource::Fetched | ChunkSource::FetchedAndKept => {
                self.fetched.begin(chunk.range).map_err(|error| chunk_error(digest, error))?;
                let kept = (source == ChunkSource::FetchedAndKept).then(|| self.spool.end());
                OpenSource::Fetched(FetchedChunk { left: size, size, digest, hasher: BlobHasher::default(), kept })
            }
        })
    }

    /// Reads from the source. Returns 0 at its end.
    fn read_source(&mut self, buffer: &mut [u8]) -> Result<usize, ChunkedError> {
        let most = |left: u64, len: usize| usize::try_from(left).unwrap_or(usize::MAX).min(len);
        match &mut self.source {
            OpenSource::None => Ok(0),
            OpenSource::Zeros(left) => {
                let len = most(*left, buffer.len());
                buffer[..len].fill(0);
                *left -= len as u64;
                Ok(len)
            }
            OpenSource::Local(reader, left) => {
                let len = most(*left, buffer.len());
                let read = reader.read(&mut buffer[..len]).map_err(NotPartial::Local)?;
                if read == 0 && len > 0 {
                    return Err(NotPartial::Local(io::ErrorKind::UnexpectedEof.into()).into());
                }
                *left -= read as u64;
                Ok(read)
            }
            OpenSource::Spooled { offset, left } => {
                let len = most(*left, buffer.len());
                let read = self.spool.read_at(&mut buffer[..len], *offset).map_err(ChunkedError::Spool)?;
                if read == 0 && len > 0 {
                    return Err(ChunkedError::Spool(io::ErrorKind::UnexpectedEof.into()));
                }
                *offset += read as u64;
                *left -= read as u64;
                Ok(read)
            }
            OpenSource::Fetched(chunk) => chunk.read(&mut self.fetched, &mut self.spool, buffer),
        }
    }

    fn read_file(&mut self, buffer: &mut [u8]) -> Result<usize, ChunkedError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let read = self.read_source(buffer)?;
            if read > 0 {
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(&buffer[..read]);
                }
                if self.file.is_some_and(|(file, _)| file.size <= INLINE_MAX) {
                    self.short.extend_from_slice(&buffer[..read]);
                }
                return Ok(read);
            }
            self.source = OpenSource::None;
            if !self.next_source()? {
                return self.end_file().map(|()| 0);
            }
        }
    }

    fn end_file(&mut self) -> Result<(), ChunkedError> {
        let Some((file, _)) = self.file.take() else { return Ok(()) };
        if let Some(found) = self.hasher.take().map(BlobHasher::finish)
            && found != file.digest
        {
            let what = "a content of several chunks".to_owned();
            return Err(NotPartial::Digest { what, expected: file.digest, found }.into());
        }
        if file.size <= INLINE_MAX {
            self.shorts.push((file.digest, std::mem::take(&mut self.short)));
        }
        Ok(())
    }

    /// Keeps the error for the caller of the import, who gets it typed.
    fn fail(&mut self, error: ChunkedError) -> io::Error {
        let text = error.to_string();
        self.error = Some(error);
        io::Error::other(text)
    }
}

impl FetchedChunk {
    fn read(
        &mut self,
        fetched: &mut FetchedRanges<'_>,
        spool: &mut ChunkSpool,
        buffer: &mut [u8],
    ) -> Result<usize, ChunkedError> {
        if self.left == 0 {
            return Ok(0);
        }
        // What the compressed bytes have beyond the size is not read: an empty frame at most.
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = fetched.read(&mut buffer[..len]).map_err(|error| chunk_error(self.digest, error))?;
        if read == 0 {
            let problem = format!("{} bytes are missing", self.left);
            return Err(chunk_error(self.digest, FetchedError::Damaged(problem)));
        }
        self.hasher.update(&buffer[..read]);
        self.left -= read as u64;
        if self.kept.is_some() {
            spool.append(&buffer[..read]).map_err(ChunkedError::Spool)?;
        }
        if self.left == 0 {
            let found = std::mem::take(&mut self.hasher).finish();
            if found != self.digest {
                let what = "a chunk".to_owned();
                return Err(NotPartial::Digest { what, expected: self.digest, found }.into());
            }
            if let Some(start) = self.kept {
                spool.end_chunk(self.digest, self.size, start);
            }
        }
        Ok(read)
    }
}

fn chunk_error(digest: BlobDigest, error: FetchedError) -> ChunkedError {
    match error {
        FetchedError::Fetch(error) => ChunkedError::Fetch(error),
        FetchedError::Damaged(problem) => {
            NotPartial::Compression { what: format!("the chunk {digest}"), problem }.into()
        }
    }
}

impl ContentOpener for PlannedContents<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_file(buffer).map_err(|error| self.fail(error))
    }

    fn open(&mut self, number: u64, file: &TarSplitFile) -> Result<ContentOrigin, ContentProblem> {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let (Some(listed), Some(source)) = (self.layer.toc().files().get(index), self.plan.files.get(index)) else {
            return Err(ContentProblem::Missing);
        };
        if listed.size != file.size {
            return Err(ContentProblem::Missing);
        }
        self.short.clear();
        self.hasher = None;
        if *source == FileSource::Local {
            let opened = self.local.open(&listed.digest, listed.size);
            let (reader, origin) =
                opened.map_err(|error| ContentProblem::Read(self.fail(NotPartial::Local(error).into())))?;
            self.source = OpenSource::Local(reader, listed.size);
            // There are no chunks to come.
            self.file = Some((listed, usize::MAX));
            return Ok(origin);
        }
        self.source = OpenSource::None;
        self.file = Some((listed, listed.chunks.start));
        self.hasher = (listed.chunks.len() > 1).then(BlobHasher::default);
        Ok(ContentOrigin::Unknown)
    }
}
