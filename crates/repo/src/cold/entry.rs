//! The file that describes a cold image: its text, without IO (`docs/format/cold.md`, section 2).

use libcomposefs_image::{Algorithm, Digest};
use serde::{Deserialize, Serialize};

/// Version of the text.
const VERSION: u32 = 1;

/// Description of a cold image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColdEntry {
    /// The image whose objects are the bases of the packed ones; `None` if these have no bases.
    pub base: Option<Digest>,
    /// The fs-verity digest of the pack.
    pub pack_digest: Digest,
    /// Size of the pack, in bytes.
    pub pack_size: u64,
    /// Number of objects in the pack, without the image.
    pub objects: u64,
    /// Size of the objects and of the image before they were packed, in bytes.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryText {
    version: u32,
    base: Option<String>,
    pack: PackText,
    objects: u64,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackText {
    digest: String,
    size: u64,
}

impl ColdEntry {
    /// Returns the text of the file.
    pub(super) fn to_text(&self) -> String {
        let text = EntryText {
            version: VERSION,
            base: self.base.map(|base| base.to_hex()),
            pack: PackText { digest: self.pack_digest.to_hex(), size: self.pack_size },
            objects: self.objects,
            bytes: self.bytes,
        };
        serde_json::to_string(&text).expect("no map with other keys than text") + "\n"
    }

    /// Reads the text of the file; the error is what is wrong with it.
    pub(super) fn parse(text: &[u8], algorithm: Algorithm) -> Result<Self, String> {
        let text: EntryText = serde_json::from_slice(text).map_err(|error| format!("it is damaged: {error}"))?;
        if text.version != VERSION {
            return Err(format!("it has version {}; this program knows version {VERSION}", text.version));
        }
        let digest = |hex: &str| match Digest::from_hex(hex) {
            Ok(digest) if digest.algorithm() == algorithm => Ok(digest),
            _ => Err(format!("{hex:.140?} is no digest of the repository's algorithm")),
        };
        Ok(Self {
            base: text.base.as_deref().map(digest).transpose()?,
            pack_digest: digest(&text.pack.digest)?,
            pack_size: text.pack.size,
            objects: text.objects,
            bytes: text.bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_and_others_are_refused() {
        let digest = |byte: u8| Digest::new(Algorithm::Sha256, &[byte; 32]).unwrap();
        let mut entry = ColdEntry { base: Some(digest(1)), pack_digest: digest(2), pack_size: 3, objects: 4, bytes: 5 };
        let read = |entry: &ColdEntry| ColdEntry::parse(entry.to_text().as_bytes(), Algorithm::Sha256);
        assert_eq!(read(&entry), Ok(entry.clone()));
        entry.base = None;
        assert_eq!(read(&entry), Ok(entry.clone()));
        let text = entry.to_text();
        assert!(ColdEntry::parse(text.as_bytes(), Algorithm::Sha512).unwrap_err().contains("no digest"));
        for (old, new, reason) in [
            ("\"version\":1", "\"version\":2", "version 2"),
            ("\"objects\":4", "\"objects\":-4", "damaged"),
            ("\"objects\":4", "\"objects\":4,\"more\":1", "damaged"),
            ("\"base\":null", "\"base\":\"zz\"", "no digest"),
        ] {
            let error = ColdEntry::parse(text.replace(old, new).as_bytes(), Algorithm::Sha256).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
