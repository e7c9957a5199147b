//! Expanding the content of a sparse file.

use std::io;

use super::sink::PieceSink;
use crate::tar::{SparseMap, SparseSegment, TarError};

/// Largest map at the beginning of the data, in bytes.
const MAP_MAX: usize = 4 << 20;

/// The reasons why a sparse file cannot be expanded.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExpandError {
    /// The map does not fit to the data.
    #[error(transparent)]
    Map(#[from] TarError),
    /// The sink does not take the expanded content.
    #[error(transparent)]
    Sink(io::Error),
}

impl ExpandError {
    /// Returns the rule of the archive that is broken, if one is.
    pub(super) fn rule(&self) -> Option<TarError> {
        match self {
            Self::Map(error) => Some(error.clone()),
            Self::Sink(_) => None,
        }
    }
}

impl From<ExpandError> for io::Error {
    fn from(error: ExpandError) -> Self {
        match error {
            ExpandError::Map(error) => Self::other(error),
            ExpandError::Sink(error) => error,
        }
    }
}

/// Expands the stored bytes of a sparse file, which are passed piece by piece.
#[derive(Debug)]
pub(super) struct SparseExpander<'m> {
    map: &'m SparseMap,
    stored: u64,
    /// The segments, once they are known.
    segments: Option<Vec<SparseSegment>>,
    /// The beginning of the data, while the map in it is not complete.
    head: Vec<u8>,
    /// The number of the present segment, and of its bytes that were passed.
    at: (usize, u64),
    /// Position in the file.
    position: u64,
}

impl<'m> SparseExpander<'m> {
    /// Begins a file of which `stored` bytes are in the archive.
    pub(super) fn new(map: &'m SparseMap, stored: u64) -> Self {
        let segments = map.segments.clone();
        Self { map, stored, segments, head: Vec::new(), at: (0, 0), position: 0 }
    }

    /// Takes stored bytes.
    pub(super) fn take(&mut self, piece: &[u8], out: &mut dyn PieceSink) -> Result<(), ExpandError> {
        if self.segments.is_some() {
            return self.data(piece, out);
        }
        self.head.extend_from_slice(piece);
        let Some((segments, len)) = SparseMap::parse_data(&self.head)? else {
            return if self.head.len() > MAP_MAX { Err(TarError::Sparse("it is too long").into()) } else { Ok(()) };
        };
        if self.head.len() < len {
            return Ok(());
        }
        let stored = self.stored.checked_sub(len as u64).ok_or(TarError::Sparse("it is longer than the data"))?;
        self.map.check(&segments, stored)?;
        self.segments = Some(segments);
        let head = std::mem::take(&mut self.head);
        self.data(&head[len..], out)
    }

    fn data(&mut self, mut piece: &[u8], out: &mut dyn PieceSink) -> Result<(), ExpandError> {
        let segments = self.segments.as_deref().unwrap_or_default();
        while !piece.is_empty() {
            let segment = segments.get(self.at.0);
            let segment = segment.ok_or(TarError::Sparse("the segments have another length than the data"))?;
            if self.at.1 == segment.len {
                self.at = (self.at.0 + 1, 0);
                continue;
            }
            if self.at.1 == 0 {
                out.zeros(segment.offset - self.position);
                self.position = segment.offset;
            }
            let len = usize::try_from(segment.len - self.at.1).unwrap_or(usize::MAX).min(piece.len());
            out.bytes(&piece[..len]).map_err(ExpandError::Sink)?;
            self.at.1 += len as u64;
            self.position += len as u64;
            piece = &piece[len..];
        }
        Ok(())
    }

    /// Ends the file.
    pub(super) fn finish(&mut self, out: &mut dyn PieceSink) -> Result<(), ExpandError> {
        if self.segments.is_none() {
            return Err(TarError::Sparse("it is longer than the data").into());
        }
        out.zeros(self.map.size - self.position);
        Ok(())
    }
}
