//! Layers that podman keeps in the form of composefs: their contents are files named by SHA-256, and the table of
//! contents says which is where.

use serde::Deserialize;

use crate::BlobDigest;

/// A content of the layer, in the order of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListedContent {
    pub(super) digest: BlobDigest,
    pub(super) size: u64,
}

/// Reads the contents of the table. Its offsets have no meaning here, and it may be of any later version.
pub(super) fn contents(toc: &[u8]) -> Result<Vec<ListedContent>, String> {
    #[derive(Deserialize)]
    struct ListedToc {
        #[serde(default)]
        entries: Vec<StoredTocEntry>,
    }
    #[derive(Deserialize)]
    struct StoredTocEntry {
        r#type: String,
        #[serde(default)]
        size: u64,
        #[serde(default)]
        digest: String,
    }
    let table: ListedToc = serde_json::from_slice(toc).map_err(|error| error.to_string())?;
    let files = table.entries.iter().filter(|entry| entry.r#type == "reg" && entry.size > 0);
    files
        .map(|entry| {
            let digest = entry.digest.parse().map_err(|error| format!("{error}"))?;
            Ok(ListedContent { digest, size: entry.size })
        })
        .collect()
}

/// Returns the path of a content below the directory `diff`.
pub(super) fn path(digest: &BlobDigest) -> Vec<u8> {
    let hex = digest.hex();
    let (first, rest) = hex.split_at(2);
    format!("{first}/{rest}").into_bytes()
}
