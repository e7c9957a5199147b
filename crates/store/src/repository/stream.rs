//! What a stream of another program refers to. The format (splitstream) is that of cfsctl; only its tables are read here.

use composefs_image::Algorithm;

/// What the header of a stream has at offset 0, or after the range of the info section in the header of older programs.
const MAGIC: &[u8; 11] = b"SplitStream";
/// Where older programs have it.
const OLD_MAGIC_AT: usize = 18;
const HEADER_LEN: usize = 32;
/// The part of the info section that is read: the ranges of the streams and of the objects that the stream refers to.
const INFO_LEN: usize = 32;
/// The binary logarithm of the block size of every digest.
const LOG_BLOCK_SIZE: u8 = 12;

/// How many bytes [`has_magic`] looks at.
pub(crate) const HEAD_LEN: usize = HEADER_LEN;

/// The tables of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tables<'b> {
    /// Digests of streams and images, one behind the other.
    pub(crate) streams: &'b [u8],
    /// Digests of objects that hold parts of the content.
    pub(crate) objects: &'b [u8],
}

/// Whether a file begins like a stream.
pub(crate) fn has_magic(head: &[u8]) -> bool {
    head.starts_with(MAGIC) || head.get(OLD_MAGIC_AT..).is_some_and(|rest| rest.starts_with(MAGIC))
}

/// Finds the tables of a stream, whose digests are of this algorithm.
///
/// # Errors
///
/// What of the stream is not understood.
pub(crate) fn tables(bytes: &[u8], algorithm: Algorithm) -> Result<Tables<'_>, &'static str> {
    let header = bytes.get(..HEADER_LEN).ok_or("is shorter than the header of a stream")?;
    // Magic, version, flags, algorithm, block size, range of the info section; older: range, flags, magic and the rest.
    let (version, kind, info_at) = if header.starts_with(MAGIC) {
        (header[11], &header[14..16], 16)
    } else if header[OLD_MAGIC_AT..].starts_with(MAGIC) {
        (header[29], &header[30..32], 0)
    } else {
        return Err("does not begin like a stream");
    };
    if version != 0 {
        return Err("has an unknown version");
    }
    if kind != [algorithm.kernel_number(), LOG_BLOCK_SIZE] {
        return Err("has digests of another kind than the repository");
    }
    let damaged = "has a table outside of the file";
    let info = range(bytes, header, info_at).filter(|info| info.len() >= INFO_LEN).ok_or(damaged)?;
    let table = |at| range(bytes, info, at).filter(|table| table.len() % algorithm.digest_len() == 0).ok_or(damaged);
    Ok(Tables { streams: table(0)?, objects: table(16)? })
}

/// The part of a file whose first byte, and the byte behind it, are two numbers in a table.
fn range<'b>(bytes: &'b [u8], table: &[u8], at: usize) -> Option<&'b [u8]> {
    let number = |at: usize| {
        let raw: [u8; 8] = table.get(at..at + 8)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(raw)).ok()
    };
    bytes.get(number(at)?..number(at + 8)?)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(found, Tables { streams: &[1; 32], objects: &[2; 32] });
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
