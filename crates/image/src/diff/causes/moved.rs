//! Contents that are under one name here and under another there.

use std::collections::HashMap;

use super::{Change, Diff, Field, FieldValue, Side};
use crate::diff::FileContent;

/// The regular files that only the first tree has and whose content is that of one that only the second tree has, each
/// with the latter: numbers in [`Diff::changes`]. Empty files count for nothing.
#[must_use]
pub fn moved(diff: &Diff<'_>) -> Vec<(u32, u32)> {
    let mut waiting: HashMap<Vec<u8>, Vec<u32>> = HashMap::new();
    let only = |side| (0u32..).zip(diff.changes()).filter(move |(_, change)| change.only() == Some(side));
    for (number, change) in only(Side::B) {
        if let Some(key) = key(diff, Side::B, change) {
            waiting.entry(key).or_default().push(number);
        }
    }
    // Of equal ones the first must be taken first.
    waiting.values_mut().for_each(|numbers| numbers.reverse());
    let pair = |(number, change)| Some((number, waiting.get_mut(&key(diff, Side::A, change)?)?.pop()?));
    if diff.counts().only_b == 0 { Vec::new() } else { only(Side::A).filter_map(pair).collect() }
}

/// The digest or the bytes, of different lengths or with a mark that parts them.
fn key(diff: &Diff<'_>, side: Side, change: &Change) -> Option<Vec<u8>> {
    match diff.value(side, change, Field::Content) {
        FieldValue::Content(FileContent::Inline(bytes)) => Some([b"=", bytes].concat()),
        FieldValue::Content(FileContent::External(Some(digest))) => Some([b"#", digest.as_bytes()].concat()),
        _ => None,
    }
}
