//! The map of a sparse file: the segments that have data.

use super::TarError;
use super::block::BLOCK;
use super::number::decimal;

/// Largest number of segments of a sparse file.
pub(super) const SEGMENTS_MAX: usize = 1 << 16;

/// A part of a sparse file that has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparseSegment {
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// The segments of a sparse file, in ascending order, and its size. Everything else is zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseMap {
    /// The size of the file, in bytes.
    pub size: u64,
    /// The segments that follow in the data of the entry, one after the other; `None` if the map itself is at the
    /// beginning of the data.
    pub segments: Option<Vec<SparseSegment>>,
}

impl SparseMap {
    /// Reads the map at the beginning of the data (PAX form 1.0): decimal numbers, each followed by a newline, padded
    /// to whole blocks. `data` has the first bytes of the data. Returns the segments and the number of bytes that the
    /// map takes, or `None` if the data must be longer.
    ///
    /// # Errors
    ///
    /// If the map is malformed.
    pub fn parse_data(data: &[u8]) -> Result<Option<(Vec<SparseSegment>, usize)>, TarError> {
        let mut at = 0;
        let mut number = || -> Result<Option<u64>, TarError> {
            let rest = &data[at.min(data.len())..];
            let Some(end) = rest.iter().take(21).position(|byte| *byte == b'\n') else {
                return if rest.len() > 20 { Err(TarError::Sparse("a line has no number")) } else { Ok(None) };
            };
            let value = decimal(&rest[..end]).ok_or(TarError::Sparse("a line is no decimal number"))?;
            at += end + 1;
            Ok(Some(value))
        };
        let Some(count) = number()? else { return Ok(None) };
        let count = usize::try_from(count).ok().filter(|count| *count <= SEGMENTS_MAX);
        let count = count.ok_or(TarError::Sparse("it has too many segments"))?;
        let mut segments = Vec::new();
        for _ in 0..count {
            let (Some(offset), Some(len)) = (number()?, number()?) else { return Ok(None) };
            segments.push(SparseSegment { offset, len });
        }
        Ok(Some((segments, at.next_multiple_of(BLOCK))))
    }

    /// Checks the segments against the size of the file and the number of stored bytes.
    ///
    /// # Errors
    ///
    /// If segments overlap, are out of order or outside of the file, or are longer than the data.
    pub fn check(&self, segments: &[SparseSegment], stored: u64) -> Result<(), TarError> {
        let (mut end, mut total) = (0u64, 0u64);
        for SparseSegment { offset, len } in segments {
            if *offset < end {
                return Err(TarError::Sparse("segments overlap or are out of order"));
            }
            end = offset.checked_add(*len).ok_or(TarError::Sparse("a segment is out of range"))?;
            total += len;
        }
        if end > self.size {
            return Err(TarError::Sparse("a segment is outside of the file"));
        }
        if total != stored {
            return Err(TarError::Sparse("the segments have another length than the data"));
        }
        Ok(())
    }
}
