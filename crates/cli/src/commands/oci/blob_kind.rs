//! Showing how a repository can give the compressed blob of a layer back.

use libcomposefs_oci::blob::BlobKind;
use serde_json::{Value, json};

/// Returns the words for people.
pub(super) fn text(kind: BlobKind) -> String {
    match kind {
        BlobKind::Exact => "exact: the uncompressed layer".into(),
        BlobKind::Rebuildable(bytes) => format!("rebuildable, by a record of {bytes} bytes"),
        BlobKind::Whole(bytes) => format!("whole, {bytes} bytes are kept"),
        _ => "not here".into(),
    }
}

/// Returns the object for `--json`: `kind` and the bytes that are kept beside the layer.
pub(super) fn json(kind: BlobKind) -> Value {
    let (name, bytes) = match kind {
        BlobKind::Exact => ("exact", 0),
        BlobKind::Rebuildable(bytes) => ("rebuildable", bytes),
        BlobKind::Whole(bytes) => ("whole", bytes),
        _ => ("not-here", 0),
    };
    json!({ "kind": name, "kept_bytes": bytes })
}
