//! The index is written: records with a type, compressed as a whole.

use std::io;

use libcomposefs_image::Digest;

use super::{END, FRAMES, ImageIndex, MAGIC, OBJECTS, OTHERS, PACKS, VERSION};

/// The compression level of indexes.
const LEVEL: i32 = 12;

impl ImageIndex {
    /// Returns the bytes of the file. The same index has the same bytes.
    ///
    /// # Errors
    ///
    /// If the index breaks a rule.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        if let Some(error) = self.broken_frame() {
            return Err(io::Error::other(error));
        }
        zstd::bulk::compress(&self.content()?, LEVEL)
    }

    /// Returns the uncompressed index.
    pub(super) fn content(&self) -> io::Result<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        out.extend(VERSION.to_le_bytes());
        out.extend([self.image.digest.algorithm().kernel_number(), 0, 0, 0]);
        out.extend(self.image.digest.as_bytes());
        out.extend(self.image.size.to_le_bytes());
        let mut packs = Vec::new();
        for pack in &self.packs {
            packs.extend(pack.sha256.as_bytes());
            packs.extend(pack.size.to_le_bytes());
        }
        record(&mut out, PACKS, &packs);
        record(&mut out, OBJECTS, &entries(&self.objects));
        record(&mut out, OTHERS, &entries(&self.others));
        record(&mut out, FRAMES, &self.frames_payload()?);
        for (kind, payload) in &self.records {
            record(&mut out, *kind, payload);
        }
        let records = 4 + self.records.len() as u64;
        record(&mut out, END, &records.to_le_bytes());
        Ok(out)
    }

    fn frames_payload(&self) -> io::Result<Vec<u8>> {
        let count = |list: &[u32]| u16::try_from(list.len()).map_err(|_| io::ErrorKind::InvalidInput);
        let mut out = Vec::new();
        for frame in &self.frames {
            out.extend(frame.pack.to_le_bytes());
            out.extend(frame.offset.to_le_bytes());
            out.extend(frame.length.to_le_bytes());
            out.extend([frame.coder.number(), 0]);
            out.extend(count(&frame.objects)?.to_le_bytes());
            out.extend(count(&frame.bases)?.to_le_bytes());
            for number in frame.objects.iter().chain(&frame.bases) {
                out.extend(number.to_le_bytes());
            }
        }
        Ok(out)
    }
}

fn entries(list: &[(Digest, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (digest, size) in list {
        out.extend(digest.as_bytes());
        out.extend(size.to_le_bytes());
    }
    out
}

fn record(out: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    out.extend(kind.to_le_bytes());
    out.extend((payload.len() as u64).to_le_bytes());
    out.extend(payload);
}
