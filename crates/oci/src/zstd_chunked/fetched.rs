//! Chunks in the bytes that were fetched: a reader that goes forward through the ranges and decompresses.

use std::io::{self, BufRead as _, BufReader, Read};

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

use super::ByteRange;

/// The fetched bytes.
pub(super) struct FetchedRanges<'f> {
    input: BufReader<Box<dyn Read + 'f>>,
    ranges: std::vec::IntoIter<ByteRange>,
    /// The rest of the present range.
    at: ByteRange,
    decoder: Decoder<'static>,
    /// The end of the compressed bytes of the present chunk.
    chunk_end: u64,
}

/// The reasons why a chunk cannot be read.
pub(super) enum FetchedError {
    /// The transport has failed.
    Fetch(io::Error),
    /// The bytes are no compressed chunk of that size.
    Damaged(String),
}

impl<'f> FetchedRanges<'f> {
    pub(super) fn new(input: Box<dyn Read + 'f>, ranges: Vec<ByteRange>, window_log: u32) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(window_log))?;
        let at = ByteRange { start: 0, end: 0 };
        Ok(Self {
            input: BufReader::with_capacity(128 << 10, input),
            ranges: ranges.into_iter(),
            at,
            decoder,
            chunk_end: 0,
        })
    }

    /// Goes to the beginning of a chunk, after all chunks that were read before.
    pub(super) fn begin(&mut self, chunk: ByteRange) -> Result<(), FetchedError> {
        while self.at.end <= chunk.start {
            self.skip(self.at.len())?;
            self.at = self.ranges.next().ok_or_else(|| damaged("it was not fetched"))?;
        }
        let between = chunk.start.checked_sub(self.at.start).ok_or_else(|| damaged("it is out of order"))?;
        self.skip(between)?;
        if chunk.end > self.at.end {
            return Err(damaged("it was not fetched whole"));
        }
        self.chunk_end = chunk.end;
        self.decoder.reinit().map_err(FetchedError::Fetch)
    }

    /// Reads decompressed bytes of the chunk. Returns 0 if there are no more.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FetchedError> {
        loop {
            let left = usize::try_from(self.chunk_end - self.at.start).unwrap_or(usize::MAX);
            let piece = if left == 0 { &[][..] } else { self.input.fill_buf().map_err(FetchedError::Fetch)? };
            if piece.is_empty() && left > 0 {
                return Err(FetchedError::Fetch(io::ErrorKind::UnexpectedEof.into()));
            }
            let mut source = InBuffer::around(&piece[..piece.len().min(left)]);
            let mut target = OutBuffer::around(buffer);
            self.decoder.run(&mut source, &mut target).map_err(|error| FetchedError::Damaged(error.to_string()))?;
            let (used, made) = (source.pos(), target.pos());
            self.input.consume(used);
            self.at.start += used as u64;
            if made > 0 || left == 0 {
                return Ok(made);
            }
        }
    }

    fn skip(&mut self, len: u64) -> Result<(), FetchedError> {
        let skipped = io::copy(&mut (&mut self.input).take(len), &mut io::sink()).map_err(FetchedError::Fetch)?;
        if skipped < len {
            return Err(FetchedError::Fetch(io::ErrorKind::UnexpectedEof.into()));
        }
        self.at.start += len;
        Ok(())
    }
}

fn damaged(problem: &str) -> FetchedError {
    FetchedError::Damaged(problem.to_owned())
}
