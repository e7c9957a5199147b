//! The document of a ref: the image, and the files that it needs (`docs/format/remote.md`, section 2).

use std::collections::HashSet;

use libcomposefs_image::{Algorithm, Digest};
use serde::{Deserialize, Serialize};

use crate::{FileName, Sha256Digest};

/// Version of the layout.
pub const REMOTE_VERSION: u32 = 1;
/// Most bytes of a ref document.
pub const REF_DOCUMENT_MAX: u64 = 1 << 20;
/// Most bytes of a metadata image, uncompressed.
const IMAGE_MAX: u64 = 1 << 30;
/// Most bytes of an index, compressed.
const INDEX_MAX: u64 = 1 << 28;
/// Most packs of a document.
const PACKS_MAX: usize = 8192;
/// Most records of a document.
const RECORDS_MAX: usize = 256;

/// The document of a ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefDocument {
    /// The image.
    pub image: RefImage,
    /// The file of the metadata image.
    pub metadata: FileEntry,
    /// The file of the index.
    pub index: FileEntry,
    /// The packs that the index refers to, each once.
    pub packs: Vec<FileEntry>,
    /// Further records, in their order: kept and passed on.
    pub records: Vec<ExtraRecord>,
}

/// The image of a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefImage {
    /// Digest of the image.
    pub digest: Digest,
    /// Size of the image, in bytes.
    pub size: u64,
}

/// A file that a document refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// SHA-256 of the file, which is its name.
    pub sha256: Sha256Digest,
    /// Length of the file in bytes.
    pub size: u64,
}

/// A record of a type that this program does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraRecord {
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: String,
    /// True if a program that does not know the type must refuse the document.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub critical: bool,
    /// The content, as the type defines it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub value: serde_json::Value,
}

/// Reason why a document cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The document is not such JSON.
    #[error("it is damaged: {0}")]
    Json(#[from] serde_json::Error),
    /// The document has another version.
    #[error("it has version {0}, and this program knows version {REMOTE_VERSION}: a newer version is needed")]
    Version(u32),
    /// The document has a critical record of an unknown type.
    #[error("it has a critical record of type {0:?}, which this program does not know: a newer version is needed")]
    Critical(String),
    /// The document breaks a rule.
    #[error("it is damaged: {0}")]
    Rule(&'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentJson {
    version: u32,
    image: ImageJson,
    metadata: FileEntry,
    index: FileEntry,
    packs: Vec<FileEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    records: Vec<ExtraRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageJson {
    algorithm: String,
    digest: String,
    size: u64,
}

/// The part of a document that all versions have.
#[derive(Serialize, Deserialize)]
struct LayoutVersion {
    version: u32,
}

impl RefDocument {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// [`DocumentError`]
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        check_version(text)?;
        let DocumentJson { image, metadata, index, packs, records, .. } = serde_json::from_slice(text)?;
        let digest = Digest::from_hex(&image.digest).ok().filter(|digest| digest.to_hex() == image.digest);
        let digest = digest.ok_or(DocumentError::Rule("the digest of the image is no lowercase digest"))?;
        if digest.algorithm().name() != image.algorithm {
            return Err(DocumentError::Rule("the digest of the image is not of the algorithm"));
        }
        let image = RefImage { digest, size: image.size };
        let document = Self { image, metadata, index, packs, records };
        document.check()?;
        Ok(document)
    }

    fn check(&self) -> Result<(), DocumentError> {
        let rule = |holds: bool, text| if holds { Ok(()) } else { Err(DocumentError::Rule(text)) };
        rule(self.image.size <= IMAGE_MAX, "the image has more than 2^30 bytes")?;
        rule(self.metadata.size <= 2 * IMAGE_MAX, "the metadata file has more than 2^31 bytes")?;
        rule(self.index.size <= INDEX_MAX, "the index has more than 2^28 bytes")?;
        rule(self.packs.len() <= PACKS_MAX, "there are more than 8192 packs")?;
        rule(self.records.len() <= RECORDS_MAX, "there are more than 256 records")?;
        let sizes = self.packs.iter().try_fold(0u64, |sum, pack| sum.checked_add(pack.size));
        rule(sizes.is_some_and(|sum| i64::try_from(sum).is_ok()), "the sizes of the packs exceed 63 bits")?;
        let mut seen = HashSet::new();
        rule(self.packs.iter().all(|pack| seen.insert(pack.sha256)), "a pack is listed twice")?;
        match self.records.iter().find(|record| record.critical) {
            Some(record) => Err(DocumentError::Critical(record.kind.chars().take(64).collect())),
            None => Ok(()),
        }
    }

    /// Returns the text of the document. The same document has the same text.
    ///
    /// # Errors
    ///
    /// [`DocumentError`] if it breaks a limit.
    pub fn to_text(&self) -> Result<Vec<u8>, DocumentError> {
        self.check()?;
        let Self { image, metadata, index, packs, records } = self.clone();
        let algorithm = image.digest.algorithm().name().to_owned();
        let image = ImageJson { algorithm, digest: image.digest.to_hex(), size: image.size };
        let json = DocumentJson { version: REMOTE_VERSION, image, metadata, index, packs, records };
        let mut text = serde_json::to_vec_pretty(&json)?;
        text.push(b'\n');
        if text.len() as u64 > REF_DOCUMENT_MAX {
            return Err(DocumentError::Rule("it has more than 2^20 bytes"));
        }
        Ok(text)
    }

    /// Returns the files that the document refers to, with their lengths: the metadata image, the index, the packs.
    pub fn files(&self) -> impl Iterator<Item = (FileName, u64)> + '_ {
        let first = [
            (FileName::Image(self.metadata.sha256), self.metadata.size),
            (FileName::Index(self.index.sha256), self.index.size),
        ];
        first.into_iter().chain(self.packs.iter().map(|pack| (FileName::Pack(pack.sha256), pack.size)))
    }

    /// Returns the algorithm of all digests of the image.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.image.digest.algorithm()
    }
}

/// Returns the text of the file with the version of the layout.
#[must_use]
pub fn version_document() -> Vec<u8> {
    format!("{{\n  \"version\": {REMOTE_VERSION}\n}}\n").into_bytes()
}

/// Checks the version in a document: that of a ref, or that of the layout.
///
/// # Errors
///
/// [`DocumentError::Json`], [`DocumentError::Version`]
pub fn check_version(text: &[u8]) -> Result<(), DocumentError> {
    let LayoutVersion { version } = serde_json::from_slice(text)?;
    if version == REMOTE_VERSION { Ok(()) } else { Err(DocumentError::Version(version)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> RefDocument {
        let file = |content: &[u8]| FileEntry { sha256: Sha256Digest::of(content), size: content.len() as u64 };
        RefDocument {
            image: RefImage { digest: Digest::from_hex("ab".repeat(32)).unwrap(), size: 4096 },
            metadata: file(b"metadata"),
            index: file(b"index"),
            packs: vec![file(b"one"), file(b"two")],
            records: vec![ExtraRecord { kind: "note".into(), critical: false, value: "text".into() }],
        }
    }

    #[test]
    fn a_document_is_read_as_it_is_written() {
        let document = document();
        let text = document.to_text().unwrap();
        assert_eq!(RefDocument::parse(&text).unwrap(), document);
        assert_eq!(RefDocument::parse(&text).unwrap().to_text().unwrap(), text);
        assert_eq!(document.files().count(), 4);
        check_version(&version_document()).unwrap();
    }

    #[test]
    fn broken_documents_are_refused() {
        let text = String::from_utf8(document().to_text().unwrap()).unwrap();
        let refused = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            let error = RefDocument::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
            error.to_string()
        };
        assert!(refused("\"version\": 1", "\"version\": 2").contains("version 2"));
        assert!(refused("abab", "ABAB").contains("lowercase"));
        assert!(refused("\"sha256\",", "\"sha512\",").contains("algorithm"));
        assert!(refused("4096", "1073741825").contains("2^30"));
        assert!(refused("4096", "-1").contains("damaged"));
        assert!(refused("\"note\"", "\"note\",\"critical\":true").contains("critical record of type \"note\""));
        assert!(refused("\"packs\"", "\"more\": 1, \"packs\"").contains("unknown field"));
        let twice = Sha256Digest::of(b"two").to_hex();
        assert!(refused(&twice, &Sha256Digest::of(b"one").to_hex()).contains("listed twice"));
        assert!(RefDocument::parse(&text.as_bytes()[1..]).is_err());
    }
}
