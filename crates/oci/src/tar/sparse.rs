//! Sparse files of GNU tar: the old form (type `S`) and the PAX forms 0.0, 0.1 and 1.0.

use super::number::{decimal, header_number};
use super::{EntryKind, TarEntry, TarError};

/// Largest number of segments of a sparse file.
const SEGMENTS_MAX: usize = 1 << 16;

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
        Ok(Some((segments, at.next_multiple_of(super::BLOCK))))
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

/// The records `GNU.sparse.*` of PAX headers.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    major: Option<u64>,
    offset: Option<u64>,
    segments: Option<Vec<SparseSegment>>,
}

impl PaxSparse {
    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        let number = || decimal(value).ok_or(TarError::Sparse("a record is no decimal number"));
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"major" => self.major = Some(number()?),
            b"offset" => self.offset = Some(number()?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or(TarError::Sparse("a length comes before its offset"))?;
                self.push(SparseSegment { offset, len: number()? })?;
            }
            b"map" => {
                self.segments = Some(Vec::new());
                let mut numbers = value.split(|byte| *byte == b',').map(decimal);
                while let Some(offset) = numbers.next() {
                    let (Some(offset), Some(Some(len))) = (offset, numbers.next()) else {
                        return Err(TarError::Sparse("the record map has no pairs of decimal numbers"));
                    };
                    self.push(SparseSegment { offset, len })?;
                }
            }
            // numblocks, minor and others have nothing that the map lacks.
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, segment: SparseSegment) -> Result<(), TarError> {
        let segments = self.segments.get_or_insert_default();
        if segments.len() == SEGMENTS_MAX {
            return Err(TarError::Sparse("it has too many segments"));
        }
        segments.push(segment);
        Ok(())
    }

    /// Gives a file the map of the records, and the name if they have one. Does nothing if the file is not sparse.
    pub(super) fn complete(self, entry: &mut TarEntry) -> Result<(), TarError> {
        let Self { name, size, major, segments, .. } = self;
        let in_data = match major {
            Some(1) => true,
            None | Some(0) => false,
            Some(_) => return Err(TarError::Sparse("it has an unknown version")),
        };
        if entry.kind != EntryKind::File || !in_data && segments.is_none() {
            return Ok(());
        }
        let size = size.ok_or(TarError::Sparse("it has no size"))?;
        entry.sparse = Some(SparseMap { size, segments: if in_data { None } else { segments } });
        entry.path = name.unwrap_or(std::mem::take(&mut entry.path));
        Ok(())
    }
}

/// The map of the old form, which is continued in further blocks.
#[derive(Debug)]
pub(super) struct OldSparse {
    pub(super) size: u64,
    pub(super) segments: Vec<SparseSegment>,
    pub(super) continues: bool,
}

impl OldSparse {
    /// Reads the map in a header of type `S`.
    pub(super) fn header(block: &[u8; super::BLOCK]) -> Result<Self, TarError> {
        let size = header_number(&block[483..495]).and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or(TarError::Number("realsize"))?;
        let mut map = Self { size, segments: Vec::new(), continues: block[482] != 0 };
        map.read(&block[386..482])?;
        Ok(map)
    }

    /// Reads a further block.
    pub(super) fn block(&mut self, block: &[u8; super::BLOCK]) -> Result<(), TarError> {
        self.continues = block[504] != 0;
        self.read(&block[..504])
    }

    fn read(&mut self, fields: &[u8]) -> Result<(), TarError> {
        for pair in fields.chunks_exact(24) {
            if pair[0] == 0 {
                break;
            }
            let number = |field| header_number(field).and_then(|number| u64::try_from(number).ok());
            let (Some(offset), Some(len)) = (number(&pair[..12]), number(&pair[12..])) else {
                return Err(TarError::Sparse("a segment is no pair of numbers"));
            };
            if self.segments.len() == SEGMENTS_MAX {
                return Err(TarError::Sparse("it has too many segments"));
            }
            self.segments.push(SparseSegment { offset, len });
        }
        Ok(())
    }
}
