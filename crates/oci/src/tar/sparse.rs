//! Sparse files of GNU tar: the old form (type `S`) and the PAX forms 0.0, 0.1 and 1.0.

use super::block::BLOCK;
use super::number::{decimal, header_number};
use super::sparse_map::{SEGMENTS_MAX, SparseMap, SparseSegment};
use super::{EntryKind, TarEntry, TarError};

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
    pub(super) fn header(block: &[u8; BLOCK]) -> Result<Self, TarError> {
        let size = header_number(&block[483..495]).and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or(TarError::Number("realsize"))?;
        let mut map = Self { size, segments: Vec::new(), continues: block[482] != 0 };
        map.read(&block[386..482])?;
        Ok(map)
    }

    /// Reads a further block.
    pub(super) fn block(&mut self, block: &[u8; BLOCK]) -> Result<(), TarError> {
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
