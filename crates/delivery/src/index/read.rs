//! The index is read: nothing in it is trusted.

use std::collections::HashSet;
use std::io::Read;

use libcomposefs_delta::Coder;
use libcomposefs_image::{Algorithm, Digest};

use super::{
    CONTENT_MAX, CRITICAL, END, EXPANSION_FREE, EXPANSION_MAX, FRAMES, ImageIndex, IndexError, IndexFrame, MAGIC,
    OBJECTS, OTHERS, PACKS, VERSION,
};
use crate::{FileEntry, RefImage, Sha256Digest};

/// Largest window of the compressed index, as a logarithm.
const WINDOW_LOG_MAX: u32 = 23;
/// Most bytes of a record of an unknown type.
const UNKNOWN_MAX: usize = 1 << 20;

impl ImageIndex {
    /// Reads the bytes of a file. Memory is bounded by a multiple of their number.
    ///
    /// # Errors
    ///
    /// [`IndexError`]
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        let limit = (bytes.len() as u64).saturating_mul(EXPANSION_MAX).saturating_add(EXPANSION_FREE).min(CONTENT_MAX);
        let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(IndexError::Compressed)?;
        decoder.window_log_max(WINDOW_LOG_MAX).map_err(IndexError::Compressed)?;
        let mut content = Vec::new();
        decoder.single_frame().take(limit + 1).read_to_end(&mut content).map_err(IndexError::Compressed)?;
        if content.len() as u64 > limit {
            return Err(IndexError::Rule { offset: limit, rule: "it is too long for its compressed length" });
        }
        Self::parse_content(&content)
    }

    /// Reads an uncompressed index.
    pub(super) fn parse_content(content: &[u8]) -> Result<Self, IndexError> {
        let mut fields = IndexFields { rest: content, len: content.len() };
        if fields.take(MAGIC.len())? != MAGIC {
            return Err(fields.rule("it does not begin as an index"));
        }
        match fields.u32()? {
            VERSION => {}
            version => return Err(IndexError::Version(version)),
        }
        let &[algorithm, 0, 0, 0] = fields.take(4)? else { return Err(fields.rule("reserved bytes are not 0")) };
        let algorithm = Algorithm::from_kernel_number(algorithm);
        let algorithm = algorithm.ok_or_else(|| fields.rule("the algorithm is unknown"))?;
        let (digest, size) = fields.entry(algorithm)?;
        let index = read_records(&mut fields, algorithm, RefImage { digest, size })?;
        let mut seen = HashSet::new();
        if !index.entries().all(|(digest, _)| seen.insert(digest)) {
            return Err(fields.rule("an object is listed twice"));
        }
        match index.broken_frame() {
            Some(error) => Err(error),
            None => Ok(index),
        }
    }
}

/// Reads all records, and their end.
fn read_records(fields: &mut IndexFields<'_>, algorithm: Algorithm, image: RefImage) -> Result<ImageIndex, IndexError> {
    let (mut packs, mut objects, mut others, mut frames) = (None, None, None, None);
    let (mut records, mut count) = (Vec::new(), 0u64);
    loop {
        let kind = fields.u16()?;
        let mut payload = fields.payload()?;
        let is_new = match kind {
            PACKS => packs.replace(payload.each(FileEntry::read)?).is_none(),
            OBJECTS => objects.replace(payload.each(|fields| fields.entry(algorithm))?).is_none(),
            OTHERS => others.replace(payload.each(|fields| fields.entry(algorithm))?).is_none(),
            FRAMES => frames.replace(payload.each(IndexFrame::read)?).is_none(),
            END if payload.u64()? == count && payload.rest.is_empty() => break,
            END => return Err(fields.rule("the number of records is wrong")),
            kind if kind & CRITICAL != 0 => return Err(IndexError::Critical(kind)),
            _ if payload.rest.len() > UNKNOWN_MAX => return Err(fields.rule("an unknown record is too long")),
            kind => {
                records.push((kind, payload.rest.to_vec()));
                true
            }
        };
        if !is_new {
            return Err(fields.rule("a record occurs twice"));
        }
        count += 1;
    }
    if !fields.rest.is_empty() {
        return Err(fields.rule("there are bytes after the end"));
    }
    match (packs, objects, others, frames) {
        (Some(packs), Some(objects), Some(others), Some(frames)) => {
            Ok(ImageIndex { image, packs, objects, others, frames, records })
        }
        _ => Err(fields.rule("a record is missing")),
    }
}

impl FileEntry {
    fn read(fields: &mut IndexFields<'_>) -> Result<Self, IndexError> {
        Ok(Self { sha256: Sha256Digest::new(fields.array()?), size: fields.u64()? })
    }
}

impl IndexFrame {
    fn read(fields: &mut IndexFields<'_>) -> Result<Self, IndexError> {
        let (pack, offset, length) = (fields.u32()?, fields.u64()?, fields.u64()?);
        let [coder, 0] = fields.array()? else { return Err(fields.rule("a reserved byte is not 0")) };
        let (objects, bases) = (fields.u16()?, fields.u16()?);
        let (objects, bases) = (fields.numbers(objects)?, fields.numbers(bases)?);
        Ok(Self { pack, offset, length, coder: Coder::from_number(coder), objects, bases })
    }
}

/// Bytes that are read field by field.
struct IndexFields<'a> {
    rest: &'a [u8],
    /// Offset of the end of `rest` in the index.
    len: usize,
}

impl<'a> IndexFields<'a> {
    fn rule(&self, rule: &'static str) -> IndexError {
        IndexError::Rule { offset: self.len.saturating_sub(self.rest.len()) as u64, rule }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], IndexError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else { return Err(self.rule("it ends too early")) };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], IndexError> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.rule("it ends too early"))
    }

    fn u16(&mut self) -> Result<u16, IndexError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, IndexError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, IndexError> {
        self.array().map(u64::from_le_bytes)
    }

    fn entry(&mut self, algorithm: Algorithm) -> Result<(Digest, u64), IndexError> {
        let digest = Digest::new(algorithm, self.take(algorithm.digest_len())?);
        let digest = digest.ok_or_else(|| self.rule("it ends too early"))?;
        Ok((digest, self.u64()?))
    }

    fn numbers(&mut self, count: u16) -> Result<Vec<u32>, IndexError> {
        let bytes = self.take(usize::from(count) * 4)?;
        Ok(bytes.chunks_exact(4).filter_map(|four| Some(u32::from_le_bytes(four.try_into().ok()?))).collect())
    }

    /// Takes a length and as many bytes.
    fn payload(&mut self) -> Result<IndexFields<'a>, IndexError> {
        let len = usize::try_from(self.u64()?).map_err(|_| self.rule("a record is too long"))?;
        let rest = self.take(len)?;
        Ok(IndexFields { rest, len: self.len.saturating_sub(self.rest.len()) })
    }

    /// Reads fields of one kind up to the end.
    fn each<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, IndexError>) -> Result<Vec<T>, IndexError> {
        let mut list = Vec::new();
        while !self.rest.is_empty() {
            list.push(read(self)?);
        }
        Ok(list)
    }
}
