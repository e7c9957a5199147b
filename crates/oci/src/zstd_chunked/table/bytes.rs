//! The bytes of the table: a header and records of equal length.

use libcomposefs_image::Algorithm;

use super::ContentTable;
use super::packed::PackedPlace;
use crate::BlobDigest;

/// Largest number of records of a table, which then has 14 MiB.
pub const RECORDS_MAX: usize = 1 << 17;

const MAGIC: &[u8; 16] = b"cfs-contents\0\0\0\x01";
/// Magic, algorithm, number of records, SHA-256 of the records.
const HEADER_LEN: usize = 16 + 8 + 8 + 32;
/// SHA-256 of the content, size, offset, digest of the object or content.
const RECORD_LEN: usize = 32 + 8 + 8 + 64;
/// Largest size of the file, in bytes.
pub(super) const FILE_MAX: usize = HEADER_LEN + RECORDS_MAX * RECORD_LEN;

impl ContentTable {
    /// Reads the bytes of a table. Returns `None` if they are damaged, or from another version or algorithm.
    #[must_use]
    pub fn parse(file: &[u8], algorithm: Algorithm) -> Option<Self> {
        let (header, records) = file.split_at_checked(HEADER_LEN)?;
        let count = number(header, 24)?;
        let expected = self_header(algorithm, count, records);
        if header != expected || records.len() > RECORDS_MAX * RECORD_LEN {
            return None;
        }
        if records.len() as u64 != count.checked_mul(RECORD_LEN as u64)? {
            return None;
        }
        let mut table = Self::new(algorithm);
        for record in records.chunks_exact(RECORD_LEN) {
            let digest = BlobDigest::from_bytes(*record.first_chunk()?);
            let (size, offset) = (number(record, 32)?, number(record, 40)?);
            let place = PackedPlace { size, offset, value: *record.get(48..)?.first_chunk()? };
            place.unpack(algorithm)?;
            table.put(digest, place);
        }
        Some(table)
    }

    /// Returns the bytes of the table.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let skipped = self.records.len().saturating_sub(RECORDS_MAX);
        let kept = self.records.get(skipped..).unwrap_or_default();
        let mut records = Vec::with_capacity(kept.len() * RECORD_LEN);
        for (digest, place) in kept {
            records.extend_from_slice(digest.as_bytes());
            records.extend_from_slice(&place.size.to_le_bytes());
            records.extend_from_slice(&place.offset.to_le_bytes());
            records.extend_from_slice(&place.value);
        }
        let count = kept.len();
        let mut file = self_header(self.algorithm, count as u64, &records);
        file.append(&mut records);
        file
    }
}

fn self_header(algorithm: Algorithm, count: u64, records: &[u8]) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&[algorithm.kernel_number(), 0, 0, 0, 0, 0, 0, 0]);
    header.extend_from_slice(&count.to_le_bytes());
    header.extend_from_slice(BlobDigest::of(records).as_bytes());
    header
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use libcomposefs_image::verity;

    use super::super::ContentPlace;
    use super::*;

    fn table(algorithm: Algorithm) -> ContentTable {
        let mut table = ContentTable::new(algorithm);
        let object = verity::digest(algorithm, b"object");
        table.insert(BlobDigest::of(b"a"), ContentPlace::Object { object, offset: 7, size: 9 });
        table.insert(BlobDigest::of(b"short"), ContentPlace::Inline(b"short".to_vec()));
        table.insert(BlobDigest::of(b"long"), ContentPlace::Inline(vec![7; 64]));
        table
    }

    #[test]
    fn tables_are_read_as_they_are_written() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let table = table(algorithm);
            let bytes = table.to_bytes();
            let read = ContentTable::parse(&bytes, algorithm).unwrap();
            assert_eq!((&read.records, &read.index), (&table.records, &table.index));
            for (at, _) in bytes.iter().enumerate() {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1;
                assert!(ContentTable::parse(&wrong, algorithm).is_none(), "byte {at}");
                assert!(ContentTable::parse(&bytes[..at], algorithm).is_none(), "{at} bytes");
            }
        }
        assert!(ContentTable::parse(&table(Algorithm::Sha256).to_bytes(), Algorithm::Sha512).is_none());
    }

    #[test]
    fn the_oldest_records_are_forgotten() {
        let mut table = ContentTable::new(Algorithm::Sha256);
        let key = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            BlobDigest::from_bytes(bytes)
        };
        for number in 0..2 * RECORDS_MAX + 5 {
            table.insert(key(number), ContentPlace::Inline(vec![1]));
        }
        assert!(table.len() < 2 * RECORDS_MAX && table.get(&key(2 * RECORDS_MAX + 4)).is_some());
        let bytes = table.to_bytes();
        assert_eq!(bytes.len(), FILE_MAX);
        let read = ContentTable::parse(&bytes, Algorithm::Sha256).unwrap();
        assert!(read.get(&key(0)).is_none() && read.get(&key(2 * RECORDS_MAX + 4)).is_some());
    }

    #[test]
    fn places_in_removed_objects_are_removed() {
        let mut table = table(Algorithm::Sha256);
        let mut kept = table.clone();
        kept.retain(&mut |_| true);
        assert_eq!(kept.len(), 3);
        table.retain(&mut |_| false);
        assert_eq!((table.len(), table.index.len()), (2, 2));
        assert!(table.get(&BlobDigest::of(b"a")).is_none());
    }
}
