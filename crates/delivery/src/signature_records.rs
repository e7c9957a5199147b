//! Signatures of images, as records of ref documents (`docs/format/remote.md`, section 2).

use libcomposefs_repo::StoredSignature;
use serde_json::json;

use crate::{ExtraRecord, RefDocument};

/// The type of the records.
const KIND: &str = "signature";
/// Most records of signatures that are written, and most bytes of them.
const WRITTEN_MAX: usize = 64;
const WRITTEN_BYTES_MAX: usize = 256 << 10;

impl RefDocument {
    /// Returns the signatures of the image that the document has. A record in another form is left out: whether enough
    /// signatures are left is for a policy to decide.
    #[must_use]
    pub fn signatures(&self) -> Vec<StoredSignature> {
        self.records.iter().filter_map(signature).collect()
    }
}

fn signature(record: &ExtraRecord) -> Option<StoredSignature> {
    let text = |key: &str| Some(record.value.get(key)?.as_str()?.as_bytes().to_vec());
    (record.kind == KIND).then_some(())?;
    Some(StoredSignature { statement: text("statement")?, signature: text("ssh").or_else(|| text("pkcs7"))? })
}

/// Returns records with these signatures added, if they are not among them. Signatures that are no text, and those
/// beyond the limits, are left out.
pub(crate) fn with_signatures(records: &[ExtraRecord], signatures: &[StoredSignature]) -> Vec<ExtraRecord> {
    let mut all = records.to_vec();
    let present: Vec<StoredSignature> = records.iter().filter_map(signature).collect();
    let size = |stored: &StoredSignature| stored.statement.len() + stored.signature.len();
    let (mut count, mut bytes) = (present.len(), present.iter().map(size).sum::<usize>());
    for stored in signatures.iter().filter(|stored| !present.contains(stored)) {
        let texts = (std::str::from_utf8(&stored.statement), std::str::from_utf8(&stored.signature));
        let (Ok(statement), Ok(signature)) = texts else { continue };
        if count < WRITTEN_MAX && bytes + size(stored) <= WRITTEN_BYTES_MAX {
            (count, bytes) = (count + 1, bytes + size(stored));
            let kind = if stored.is_pkcs7() { "pkcs7" } else { "ssh" };
            let value = json!({ "statement": statement, kind: signature });
            all.push(ExtraRecord { kind: KIND.into(), critical: false, value });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(statement: &[u8], signature: &[u8]) -> StoredSignature {
        StoredSignature { statement: statement.to_vec(), signature: signature.to_vec() }
    }

    #[test]
    fn signatures_are_added_once_and_within_limits() {
        let note = ExtraRecord { kind: "note".into(), critical: false, value: "text".into() };
        let one = with_signatures(std::slice::from_ref(&note), &[stored(b"s", b"one"), stored(b"s", b"\xff")]);
        assert_eq!((one.len(), &one[0]), (2, &note));
        assert_eq!(with_signatures(&one, &[stored(b"s", b"one")]), one);
        assert_eq!(with_signatures(&one, &[stored(b"s", b"two")]).len(), 3);
        let many: Vec<_> = (0..100).map(|number: u32| stored(b"s", number.to_string().as_bytes())).collect();
        assert_eq!(with_signatures(&[], &many).len(), WRITTEN_MAX);
        let large = [stored(&vec![b'x'; WRITTEN_BYTES_MAX], b"one"), stored(b"s", b"two")];
        assert_eq!(with_signatures(&[], &large).len(), 1);
    }

    #[test]
    fn the_kind_of_a_signature_is_its_key() {
        let pkcs7 = stored(b"digest", b"-----BEGIN PKCS7-----\n");
        let records = with_signatures(&[], &[pkcs7.clone(), stored(b"s", b"one")]);
        assert!(records[0].value["pkcs7"].is_string() && records[0].value["ssh"].is_null(), "{records:?}");
        assert_eq!(records.iter().filter_map(signature).collect::<Vec<_>>(), [pkcs7, stored(b"s", b"one")]);
    }

    #[test]
    fn records_in_another_form_are_no_signatures() {
        let value = json!({ "statement": "s", "ssh": "one" });
        let good = ExtraRecord { kind: KIND.into(), critical: false, value: value.clone() };
        assert_eq!(signature(&good), Some(stored(b"s", b"one")));
        assert_eq!(signature(&ExtraRecord { kind: "note".into(), value, ..good.clone() }), None);
        for value in [json!({}), json!("s"), json!({ "statement": "s", "ssh": 1 }), json!({ "statement": "s" })] {
            assert_eq!(signature(&ExtraRecord { value, ..good.clone() }), None);
        }
    }
}
