//! The tables of a stream (splitstream; `docs/format/stream.md`). Only the tables are read here.

use std::ops::Range;

use libcomposefs_image::Algorithm;

/// Magic bytes of a stream at offset 0, or after the range of the info section in the header of older programs.
const MAGIC: &[u8; 11] = b"SplitStream";
/// Offset of the magic bytes in the older header.
const OLD_MAGIC_AT: usize = 18;
const HEADER_LEN: usize = 32;
/// Size of the part of the info section that gc needs: the ranges of the tables of streams and of objects.
const INFO_MIN: usize = 32;
/// Size of the info section.
const INFO_LEN: usize = 80;
/// Block size of every digest, as a binary logarithm.
const LOG_BLOCK_SIZE: u8 = 12;

/// Number of bytes that [`has_magic`] needs.
pub(crate) const HEAD_LEN: usize = HEADER_LEN;

/// The tables of a stream, as ranges of bytes in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamTables {
    /// Table of streams and images: raw digests, one after the other.
    pub streams: Range<u64>,
    /// Table of objects that hold parts of the content: raw digests, one after the other.
    pub objects: Range<u64>,
    /// The content and the names, if the info section has its whole length.
    pub content: Option<StreamContent>,
}

/// The content of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamContent {
    /// The chunks of the content, compressed.
    pub chunks: Range<u64>,
    /// The names of entries of the table of streams, compressed.
    pub names: Range<u64>,
    /// The kind of content.
    pub content_type: [u8; 8],
    /// The size of the content, in bytes.
    pub size: u64,
}

/// Returns whether a file begins like a stream.
pub(crate) fn has_magic(head: &[u8]) -> bool {
    head.starts_with(MAGIC) || head.get(OLD_MAGIC_AT..).is_some_and(|rest| rest.starts_with(MAGIC))
}

/// Finds the tables of a stream of `len` bytes with digests of this algorithm. `read` fills a buffer from an offset
/// within the file; few bytes are read.
///
/// # Errors
///
/// Errors of `read`; inside, the reason why the stream cannot be interpreted.
pub fn stream_tables<E>(
    len: u64,
    algorithm: Algorithm,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Result<StreamTables, &'static str>, E> {
    let mut header = [0; HEADER_LEN];
    if len < HEADER_LEN as u64 {
        return Ok(Err("is shorter than the header of a stream"));
    }
    read(0, &mut header)?;
    // Magic, version, flags, algorithm, block size, range of the info section; older: range, flags, magic and the rest.
    let (version, kind, info_at) = if header.starts_with(MAGIC) {
        (header[11], &header[14..16], 16)
    } else if header[OLD_MAGIC_AT..].starts_with(MAGIC) {
        (header[29], &header[30..32], 0)
    } else {
        return Ok(Err("does not begin like a stream"));
    };
    if version != 0 {
        return Ok(Err("has an unknown version"));
    }
    if kind != [algorithm.kernel_number(), LOG_BLOCK_SIZE] {
        return Ok(Err("has digests of another kind than the repository"));
    }
    let damaged = "has a table outside of the file";
    let size = |range: &Range<u64>| range.end - range.start;
    let Some(at) = range(len, &header, info_at).filter(|info| size(info) >= INFO_MIN as u64) else {
        return Ok(Err(damaged));
    };
    let mut info = [0; INFO_LEN];
    let is_whole = size(&at) >= INFO_LEN as u64;
    let known = if is_whole { INFO_LEN } else { INFO_MIN };
    read(at.start, &mut info[..known])?;
    let digest_len = algorithm.digest_len() as u64;
    let table = |at| range(len, &info, at).filter(|table| size(table).is_multiple_of(digest_len)).ok_or(damaged);
    let tables = || {
        let content = if is_whole { content(len, &info) } else { None };
        Ok(StreamTables { streams: table(0)?, objects: table(16)?, content })
    };
    Ok(tables())
}

/// Reads the rest of the info section: ranges of the chunks and of the names, the kind and the size of the content.
fn content(len: u64, info: &[u8; INFO_LEN]) -> Option<StreamContent> {
    Some(StreamContent {
        chunks: range(len, info, 32)?,
        names: range(len, info, 48)?,
        content_type: info[64..72].try_into().ok()?,
        size: u64::from_le_bytes(info[72..80].try_into().ok()?),
    })
}

/// Reads a range, as two numbers in a table, that must be within a file of `len` bytes.
fn range(len: u64, table: &[u8], at: usize) -> Option<Range<u64>> {
    let number = |at: usize| Some(u64::from_le_bytes(table.get(at..at + 8)?.try_into().ok()?));
    let range = number(at)?..number(at + 8)?;
    (range.start <= range.end && range.end <= len).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables as bytes.
    fn tables(stream: &[u8], algorithm: Algorithm) -> Result<[&[u8]; 2], &'static str> {
        let read = |offset: u64, buffer: &mut [u8]| {
            let start = usize::try_from(offset).unwrap();
            buffer.copy_from_slice(&stream[start..start + buffer.len()]);
            Ok::<_, std::convert::Infallible>(())
        };
        let Ok(found) = super::stream_tables(stream.len() as u64, algorithm, read);
        let part =
            |range: Range<u64>| &stream[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        found.map(|tables| [part(tables.streams), part(tables.objects)])
    }

    fn numbers(numbers: &[u64]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// A stream with one digest in either table, with the new header and the old one.
    fn streams() -> [Vec<u8>; 2] {
        let info = numbers(&[112, 144, 144, 176, 176, 180, 176, 176, 0, 4]);
        let body = [&info[..], &[1; 32], &[2; 32], b"rest"].concat();
        let range = numbers(&[32, 112]);
        let new = [&MAGIC[..], &[0, 0, 0, 1, 12], &range].concat();
        let old = [&range, &[0, 0][..], MAGIC, &[0, 1, 12]].concat();
        [new, old].map(|header| [header, body.clone()].concat())
    }

    #[test]
    fn both_headers_are_read() {
        for stream in streams() {
            assert!(has_magic(&stream[..HEAD_LEN]));
            let found = tables(&stream, Algorithm::Sha256).unwrap();
            assert_eq!(found, [&[1; 32][..], &[2; 32][..]]);
            assert!(tables(&stream, Algorithm::Sha512).is_err());
        }
    }

    #[test]
    fn what_is_no_stream_is_refused_and_nothing_panics() {
        for stream in streams() {
            for len in 0..176 {
                assert!(tables(&stream[..len], Algorithm::Sha256).is_err(), "{len}");
            }
            for at in 0..stream.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut other = stream.clone();
                    other[at] = value;
                    let _ = tables(&other, Algorithm::Sha256);
                }
            }
        }
        assert!(tables(&[0; 4096], Algorithm::Sha256).is_err());
    }
}
