//! The file of a record: a header of fixed length, then its three parts.

use std::ops::Range;

use super::BlobRecordError;
use crate::BlobDigest;

/// The first bytes of a record; the last of them is the version.
const MAGIC: [u8; 8] = *b"cfsblob\x01";
/// Length of the header, in bytes.
const HEADER_LEN: usize = 88;

/// The way in which a blob is rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlobMethod {
    /// The blob is the archive.
    Plain,
    /// gzip: the tokens of an encoder that is imitated, with differences.
    Gzip,
    /// Zstandard: an encoder with the settings of the record.
    Zstd,
}

/// A record, of which the header was read.
#[derive(Clone, Copy, Debug)]
pub struct BlobRecord<'r> {
    /// The way in which the blob is rebuilt.
    pub method: BlobMethod,
    /// The digest of the blob.
    pub blob: BlobDigest,
    /// The size of the blob, in bytes.
    pub blob_size: u64,
    /// The size of the archive, in bytes.
    pub archive_size: u64,
    /// Heads of blocks, differences of tokens, and streams.
    pub(super) parts: [&'r [u8]; 3],
}

impl BlobRecord<'_> {
    /// Returns the ranges of the three parts in the bytes of the record.
    pub(super) fn part_ranges(&self) -> [Range<usize>; 3] {
        let mut at = HEADER_LEN;
        self.parts.map(|part| {
            let start = at;
            at += part.len();
            start..at
        })
    }
}

impl<'r> BlobRecord<'r> {
    /// Reads the header of a record.
    ///
    /// # Errors
    ///
    /// If the bytes are no record of this version, or its parts have another length.
    pub fn parse(record: &'r [u8]) -> Result<Self, BlobRecordError> {
        let damaged = BlobRecordError::Damaged;
        let (header, mut rest) = record.split_first_chunk::<HEADER_LEN>().ok_or(damaged("it is too short"))?;
        if header[..7] != MAGIC[..7] {
            return Err(damaged("it does not begin with its magic number"));
        }
        if header[7] != MAGIC[7] {
            return Err(BlobRecordError::Version(header[7]));
        }
        let method = match header[8] {
            0 => BlobMethod::Plain,
            1 => BlobMethod::Gzip,
            2 => BlobMethod::Zstd,
            _ => return Err(damaged("its method is not known")),
        };
        if header[9..16].iter().any(|byte| *byte != 0) {
            return Err(damaged("a reserved byte of its header is not 0"));
        }
        let number = |at: usize| header[at..at + 8].try_into().map(u64::from_le_bytes).unwrap_or_default();
        let blob = header[56..88].try_into().map(BlobDigest::from_bytes).map_err(|_| damaged("it is too short"))?;
        let mut parts: [&[u8]; 3] = [&[]; 3];
        for (part, at) in parts.iter_mut().zip([32, 40, 48]) {
            let len = usize::try_from(number(at)).ok();
            let (taken, left) = len.and_then(|len| rest.split_at_checked(len)).ok_or(damaged("a part is truncated"))?;
            (*part, rest) = (taken, left);
        }
        if !rest.is_empty() {
            return Err(damaged("bytes follow its parts"));
        }
        Ok(Self { method, blob, blob_size: number(16), archive_size: number(24), parts })
    }

    /// Returns the bytes of the record.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[self.method as u8, 0, 0, 0, 0, 0, 0, 0]);
        for number in [self.blob_size, self.archive_size].into_iter().chain(self.parts.map(|part| part.len() as u64)) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(self.blob.as_bytes());
        bytes.extend(self.parts.concat());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_a_changed_header_is_refused() {
        let blob = BlobDigest::of(b"blob");
        let parts: [&[u8]; 3] = [b"heads", b"", b"streams"];
        let bytes = BlobRecord { method: BlobMethod::Gzip, blob, blob_size: 7, archive_size: 9, parts }.to_bytes();
        let record = BlobRecord::parse(&bytes).unwrap();
        assert_eq!((record.method, record.blob, record.blob_size, record.archive_size), (BlobMethod::Gzip, blob, 7, 9));
        assert_eq!(record.parts, parts);
        for (at, value) in [(0, 0), (7, 2), (8, 3), (9, 1), (32, 4), (32, 6), (39, 0xff), (48, 200)] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            assert!(BlobRecord::parse(&bytes).is_err(), "byte {at}");
        }
        assert!(BlobRecord::parse(&bytes[..bytes.len() - 1]).is_err());
        assert!(matches!(BlobRecord::parse(&[&MAGIC[..7], &[9; 90]].concat()), Err(BlobRecordError::Version(9))));
    }
}
