//! Signatures of images in bundles of version 2 (`docs/format/bundle.md`).

use std::io::{self, Write};

use libcomposefs_image::{Algorithm, Digest};

use super::typed_record::write_record;
use crate::StoredSignature;

/// The type of the record, which is not critical: older programs pass over it.
pub(super) const SIGNATURE: u16 = 5;
/// Most signatures of a bundle that are kept, and most bytes of them.
const KEPT_MAX: usize = 4096;
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Signatures that a bundle has, in memory until the images are published.
#[derive(Debug, Default)]
pub(super) struct BundleSignatures {
    pub(super) list: Vec<(Digest, StoredSignature)>,
    bytes: usize,
}

impl BundleSignatures {
    /// Adds that of a record. The error is the rule that it breaks.
    pub(super) fn add(&mut self, algorithm: Algorithm, payload: &[u8]) -> Result<(), &'static str> {
        let signature = parse(algorithm, payload).ok_or("the record of a signature is damaged")?;
        self.bytes += payload.len();
        if self.list.len() >= KEPT_MAX || self.bytes > KEPT_BYTES_MAX {
            return Err("it has more than 4096 signatures, or more than 16 MiB of them");
        }
        self.list.push(signature);
        Ok(())
    }
}

/// Writes a signature of an image.
pub(super) fn write_signature(out: &mut dyn Write, image: &Digest, signature: &StoredSignature) -> io::Result<()> {
    let StoredSignature { statement, signature } = signature;
    let len = u32::try_from(statement.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let payload = [image.as_bytes(), &len.to_le_bytes(), statement, signature].concat();
    write_record(out, SIGNATURE, &payload, &mut io::empty(), 0)
}

fn parse(algorithm: Algorithm, payload: &[u8]) -> Option<(Digest, StoredSignature)> {
    let (digest, rest) = payload.split_at_checked(algorithm.digest_len())?;
    let (len, rest) = rest.split_first_chunk()?;
    let (statement, signature) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    let signature = StoredSignature { statement: statement.to_vec(), signature: signature.to_vec() };
    Some((Digest::new(algorithm, digest)?, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_read_as_it_is_written() {
        let digest = Digest::from_hex("ab".repeat(32)).unwrap();
        let signature = StoredSignature { statement: b"statement".to_vec(), signature: b"signature".to_vec() };
        let mut record = Vec::new();
        write_signature(&mut record, &digest, &signature).unwrap();
        let payload = &record[10..];
        assert_eq!(parse(Algorithm::Sha256, payload), Some((digest, signature)));
        let head = 32 + 4 + b"statement".len();
        for end in 0..payload.len() {
            assert_eq!(parse(Algorithm::Sha256, &payload[..end]).is_some(), end >= head, "{end}");
        }
        let mut kept = BundleSignatures::default();
        for _ in 0..KEPT_MAX {
            kept.add(Algorithm::Sha256, payload).unwrap();
        }
        assert!(kept.add(Algorithm::Sha256, payload).is_err());
        assert!(BundleSignatures::default().add(Algorithm::Sha256, b"short").is_err());
    }
}
